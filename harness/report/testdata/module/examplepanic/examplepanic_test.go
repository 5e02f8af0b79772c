package examplepanic

func Example_panics() {
	panic("in an example")
	// Output:
}
