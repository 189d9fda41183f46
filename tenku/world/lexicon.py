"""Every phrase that captions are made of: a canonical phrase and its synonyms.

Captions say the canonical phrase at least half of the time. Verbs come as pairs, "rolls/rolling"; the rest is
plain. `captions.vocabulary()` is read off these tables, so a word that is not here cannot be in a caption.
"""

from __future__ import annotations

# canonical phrase -> synonyms
Table = dict[str, tuple[str, ...]]

SUBJECT: Table = {
    "ball": ("sphere", "globe", "round ball", "football"),
    "cube": ("box", "block", "crate", "square block"),
    "cylinder": ("drum", "barrel", "can", "pillar", "column"),
    "cone": ("pyramid", "traffic cone", "pointed cone"),
    "car": ("automobile", "sedan", "motorcar", "vehicle", "auto"),
    "truck": ("lorry", "delivery truck", "van", "cargo truck"),
    "house": ("cottage", "home", "hut", "cabin", "building"),
    "tree": ("round tree", "leafy tree", "shrub", "bush"),
    "sailing boat": ("sailboat", "boat", "yacht", "ship", "sailing ship"),
    "rocket": ("spaceship", "spacecraft", "missile", "space rocket", "shuttle"),
    "aeroplane": ("airplane", "plane", "aircraft", "propeller plane", "jet"),
    "drone": ("quadcopter", "toy drone", "multicopter"),
    "butterfly": ("moth", "winged insect", "insect"),
    "fish": ("goldfish", "tropical fish", "sea fish"),
    "robot": ("android", "toy robot", "machine", "droid"),
    "snowman": ("snow figure", "frosty snowman", "man of snow"),
    "lighthouse": ("beacon", "light tower", "tower"),
    "coffee cup": ("mug", "cup", "coffee mug", "teacup"),
}
COLOUR: Table = {
    "red": ("crimson", "scarlet", "ruby", "cherry red"),
    "orange": ("tangerine", "amber", "bright orange"),
    "yellow": ("golden", "lemon", "bright yellow", "gold"),
    "green": ("emerald", "grass green", "dark green"),
    "blue": ("azure", "navy", "royal blue", "cobalt"),
    "purple": ("violet", "lilac", "magenta"),
    "pink": ("rose", "rosy", "light pink"),
    "brown": ("chocolate", "chestnut", "tan"),
    "black": ("dark", "jet black", "ebony"),
    "white": ("pale", "ivory", "snow white"),
}
SIZE: Table = {"small": ("little", "tiny", "mini", "miniature"), "large": ("big", "huge", "giant", "great", "massive")}
PLACE: Table = {
    "in a meadow": ("on a meadow", "on green grass", "in a grassy field", "on a lawn", "in a field", "in a park",
                    "on grassland"),
    "in the desert": ("in a sandy desert", "among the dunes", "between cacti", "on desert sand", "in a dry desert"),
    "in the snow": ("in a snowy landscape", "on snow", "on snowy ground", "in winter", "in a winter forest"),
    "on a beach": ("on the beach", "on a sandy beach", "by the sea", "on the shore", "at the seaside", "under palms",
                   "on the coast"),
    "on the open sea": ("on the sea", "at sea", "on the ocean", "on the water", "on blue water"),
    "on a city street": ("in a city", "on a street", "in town", "on a road", "downtown", "in the street",
                         "in an urban street"),
    "on the moon": ("on the lunar surface", "on the grey moon", "among craters", "in space on the moon"),
    "on a coral reef": ("underwater", "under water", "on the sea floor", "at a reef", "among corals",
                        "at the bottom of the sea"),
}  # fmt: skip
PLACE_ABOVE: Table = {  # the same eight, for what flies
    "over a meadow": ("above a meadow", "over green grass", "above a field"),
    "over the desert": ("above the desert", "above the dunes", "over desert sand"),
    "over the snow": ("above the snow", "over a snowy landscape"),
    "over a beach": ("above the beach", "over the shore", "above a sandy beach"),
    "over the open sea": ("over the sea", "above the ocean", "over the water", "above the waves"),
    "over a city street": ("above a street", "over a road", "through the city"),
    "over the moon": ("above the moon", "over the lunar surface"),
    "over a coral reef": ("above corals", "through a reef"),
}
LIGHT: Table = {
    "by day": ("in daylight", "during the day", "in bright light", "in the daytime", "at noon"),
    "at sunset": ("at dusk", "in the evening", "in evening light", "at twilight", "in golden light"),
    "at night": ("in the dark", "after dark", "at midnight", "in the night", "at nighttime"),
    "in fog": ("in the mist", "in haze", "in foggy weather", "in misty air", "in hazy light"),
}
CAMERA: Table = {
    "the camera is static": ("the camera stays still", "the camera does not move", "the camera is fixed",
                             "the shot is locked", "it is a static shot"),
    "the camera pans left": ("the camera turns left", "the view pans to the left", "the camera rotates left"),
    "the camera pans right": ("the camera turns right", "the view pans to the right", "the camera rotates right"),
    "the camera orbits left": ("the camera circles to the left", "the camera moves around it to the left",
                               "the camera arcs left"),
    "the camera orbits right": ("the camera circles to the right", "the camera moves around it to the right",
                                "the camera arcs right"),
    "the camera dollies in": ("the camera pushes in", "the camera moves closer", "the camera comes nearer",
                              "the camera approaches", "the camera zooms in"),
    "the camera dollies out": ("the camera pulls back", "the camera moves back", "the camera backs away",
                               "the camera zooms out", "the camera retreats"),
    "the camera cranes up": ("the camera rises", "the camera goes up", "the camera lifts up", "the camera ascends"),
    "the camera follows": ("the camera tracks it", "the camera follows it", "the camera moves along with it",
                           "it is a tracking shot"),
}  # fmt: skip
CAMERA_SHORT: Table = {
    "static camera": ("fixed camera", "static shot"),
    "panning left": ("pan left",),
    "panning right": ("pan right",),
    "orbiting left": ("orbit left", "circling left"),
    "orbiting right": ("orbit right", "circling right"),
    "dolly in": ("push in", "close in", "zoom in"),
    "dolly out": ("pull out", "zoom out"),
    "crane up": ("crane shot", "rising camera"),
    "following camera": ("tracking shot", "following shot"),
}
# Verbs, "finite/participle". Moving depends on who moves.
VERB: Table = {
    "rolls/rolling": ("moves/moving", "is rolling/rolling along"),
    "drives/driving": ("moves/moving", "rides/riding", "speeds/speeding", "travels/travelling"),
    "sails/sailing": ("moves/moving", "travels/travelling"),
    "swims/swimming": ("moves/moving", "glides/gliding"),
    "flies/flying": ("moves/moving", "soars/soaring", "glides/gliding"),
    "walks/walking": ("moves/moving", "strides/striding", "goes/going"),
    "slides/sliding": ("moves/moving", "glides/gliding", "slips/slipping"),
}
WAY: Table = {
    "to the left": ("left", "leftwards", "from right to left", "toward the left"),
    "to the right": ("right", "rightwards", "from left to right", "toward the right"),
    "away": ("away from the camera", "into the distance", "away from us", "farther away", "away from the viewer"),
    "towards the camera": ("closer", "toward the camera", "towards us", "nearer", "towards the viewer"),
}
DEED: Table = {
    "rests/resting": ("sits/sitting", "stands/standing", "is still/standing still", "stays/staying", "lies/lying",
                      "waits/waiting", "is/placed"),
    "hovers/hovering": ("stays in place/staying in place", "floats still/floating still"),
    "drops and bounces/dropping and bouncing": ("bounces/bouncing", "falls and bounces/falling and bouncing",
                                                "bounces up and down/bouncing up and down", "rebounds/rebounding"),
    "falls/falling": ("drops/dropping", "falls to the ground/falling to the ground", "plunges/plunging"),
    "jumps/jumping": ("hops/hopping", "leaps/leaping", "jumps up/jumping up", "springs up/springing up"),
    "jumps out of the water/jumping out of the water": ("leaps from the sea/leaping from the sea",
                                                        "jumps/jumping", "leaps over the waves/leaping over the waves"),
    "spins/spinning": ("turns around/turning around", "rotates/rotating", "spins on the spot/spinning on the spot",
                       "twirls/twirling", "whirls/whirling"),
    "flies across/flying across": ("flies past/flying past", "crosses the picture/crossing the picture",
                                   "flies by/flying by", "soars across/soaring across"),
    "flies across in an arc/flying across in an arc": ("is thrown across/thrown across",
                                                       "flies through the air/flying through the air",
                                                       "is tossed across/tossed across"),
    "swings on a rope/swinging on a rope": ("swings/swinging", "swings back and forth/swinging back and forth",
                                            "hangs from a rope and swings/hanging from a rope and swinging",
                                            "sways on a rope/swaying on a rope"),
    "is hit by/hit by": ("is struck by/struck by", "gets knocked by/knocked by", "collides with/colliding with",
                         "is pushed by/pushed by", "is rammed by/rammed by"),
    "topples over/toppling over": ("falls over/falling over", "tips over/tipping over", "topples/toppling",
                                   "collapses sideways/collapsing sideways", "tumbles down/tumbling down"),
    "floats on the waves/floating on the waves": ("floats/floating", "bobs on the waves/bobbing on the waves",
                                                  "rocks on the waves/rocking on the waves",
                                                  "drifts on the waves/drifting on the waves"),
    "takes off/taking off": ("lifts off/lifting off", "rises into the air/rising into the air",
                             "flies up/flying up", "starts to climb/climbing", "ascends/ascending"),
    "launches/launching": ("takes off/taking off", "lifts off/lifting off", "blasts off/blasting off"),
    "is in the air/in the air": ("is above the ground/above the ground", "is up in the air/up in the air"),
}  # fmt: skip
RELATION: Table = {
    "to the left of": ("left of", "on the left of", "on the left side of"),
    "to the right of": ("right of", "on the right of", "on the right side of"),
    "behind": ("in back of", "farther away than"),
    "in front of": ("before", "ahead of", "closer than"),
    "on top of": ("on", "atop", "standing on", "placed on"),
}
AFTER: Table = {"and tumbles": ("and falls over", "and tips over", "and is knocked over")}
# Words of the sentences around the phrases.
FRAME: Table = {
    "there is": ("we see", "here is", "you can see", "a video of", "this shows"),
    "a": ("an",), "and": ("while", "with"), "in the scene": ("in the picture", "in view"),
    "it is": ("the subject is", "this one is"), "the": ("one",), "that is": ("which is",), "as": ("then",),
}  # fmt: skip
TABLES = (SUBJECT, COLOUR, SIZE, PLACE, PLACE_ABOVE, LIGHT, CAMERA, CAMERA_SHORT, VERB, WAY, DEED, RELATION, AFTER,
          FRAME)  # fmt: skip
