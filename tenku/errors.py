"""What a user did that cannot work, said in one line with the way out."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake of the user's: printed as `error: message` and `hint: hint`, never as a traceback.

    The message names the field and the value; the hint says what would work. The command line exits with 2.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
