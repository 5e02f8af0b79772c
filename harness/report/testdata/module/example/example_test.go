package example

import "fmt"

func Example() {
	fmt.Println("hello")
	fmt.Println("world")
	// Output:
	// hello
	// there
}
