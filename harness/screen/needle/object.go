package needle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// An object is a JSON object that keeps the order of its members, and members that this package
// does not know. So reading and writing a needle loses nothing.
type object struct {
	names  []string
	values map[string]json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *object) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	if tok != json.Delim('{') {
		return fmt.Errorf("want an object, not %s", head(b))
	}
	*o = object{values: make(map[string]json.RawMessage)}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		name := tok.(string)
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return err
		}
		if _, twice := o.values[name]; twice {
			return fmt.Errorf("%q is there twice", name)
		}
		o.names = append(o.names, name)
		o.values[name] = v
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(o.values[name])
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// set sets a member's value. It inserts a new member in alphabetical order, which is usual in
// needles.
func (o *object) set(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // NB: numbers, strings and lists of them always encode
	}
	if o.values == nil {
		o.values = make(map[string]json.RawMessage)
	}
	if _, there := o.values[name]; !there {
		at := slices.IndexFunc(o.names, func(n string) bool { return n > name })
		if at < 0 {
			at = len(o.names)
		}
		o.names = slices.Insert(o.names, at, name)
	}
	o.values[name] = b
}

func (o *object) remove(name string) {
	delete(o.values, name)
	o.names = slices.DeleteFunc(o.names, func(n string) bool { return n == name })
}

// number returns a member's value as a number. It accepts both 96 and "96", because some programs
// that write needles do not distinguish them. A member that is absent, null or empty is not set.
func (o *object) number(name string) (v float64, set bool, err error) {
	raw, ok := o.values[name]
	if !ok || string(raw) == "null" || string(raw) == `""` {
		return 0, false, nil
	}
	text := string(raw)
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, false, err
		}
	}
	v, err = strconv.ParseFloat(text, 64)
	if err != nil || v != v || v > maxNumber || v < -maxNumber {
		return 0, false, fmt.Errorf("%s is %s: want a number", name, head(raw))
	}
	return v, true, nil
}

// maxNumber limits numbers, so that sums of them cannot overflow. All sensible numbers are smaller.
const maxNumber = 1 << 24

// integer returns a member's value as a whole number; 0 if it is not set.
func (o *object) integer(name string) (v int, set bool, err error) {
	f, set, err := o.number(name)
	if err != nil {
		return 0, false, err
	}
	if f != float64(int(f)) {
		return 0, false, fmt.Errorf("%s is %v: want a whole number", name, f)
	}
	return int(f), set, nil
}

// head returns the beginning of a JSON value for an error.
func head(b []byte) string {
	if len(b) > 40 {
		return string(b[:40]) + "…"
	}
	return string(b)
}
