"""The kill matrix: faults x checks and healthy controls x checks, behind `groundthink prove`."""
