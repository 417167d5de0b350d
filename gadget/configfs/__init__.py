"""The gadget's tree in configfs: planned as data, applied, bound to a controller, owned, and taken down again."""
