# A text file as C string literals, one per line.
s/[\\"]/\\&/g
s/.*/"&\\n"/
