package control

// SplitObject is for the fuzz test, which compares it with encoding/json.
var SplitObject = splitObject
