"""Where pictures come from: the seal that every generated file carries, and the reader that finds it."""
