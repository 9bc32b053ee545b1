"""The named stages of a recipe, one file each: tables in, one table and a report out."""
