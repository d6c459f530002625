"""The full replay: the whole log is folded again, from its first offset, into a shadow.

It shares no line with the rater: records are read by the grammar that all share, and what follows
is the plain way, one event after the other, in whole numbers and fractions.
"""
