package timeline

// Limit lets the file grow to n bytes only.
func (t *Writer) Limit(n int64) { t.limit = n }
