"""Every face of a photo with its age: python examples/estimate_photo.py photo.jpg."""

import sys

import agewise

for face, age in agewise.estimate(sys.argv[1] if len(sys.argv) > 1 else "examples/astronaut.jpg"):
    box = ", ".join(f"{edge:.0f}" for edge in face.box)
    print(f"{age.mean:.0f} years ({age.low:.0f} to {age.high:.0f}) at {box}")
