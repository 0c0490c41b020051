"""The HTML report: one file that opens offline. The folder holds its template, style and scripts."""
