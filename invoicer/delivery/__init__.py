"""An issued document as people read it: one view, shown as HTML and as PDF."""
