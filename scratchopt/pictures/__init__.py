"""Pictures of any run: the house style, curves, sharpness. They need matplotlib, when drawn."""
