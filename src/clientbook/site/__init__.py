"""What the report is made of: its numbers, figures, tables, words, template and style."""
