package plan

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/spice/proxy"
)

// A schema is a JSON schema, or a part of one.
type schema map[string]any

const (
	durationText  = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	templateText  = `\$\{\{`
	schemaDialect = "https://json-schema.org/draft/2020-12/schema"
)

// Schema returns the JSON schema of plans, for editors. It describes the types of the values. Only
// Load checks references and conditions.
func Schema() ([]byte, error) {
	s := schemaOf(reflect.TypeFor[Plan](), false)
	s["$schema"], s["title"] = schemaDialect, "A plan of Spicelane"
	s["required"] = []string{"jobs"}
	return json.MarshalIndent(s, "", "  ")
}

// words are the possible values of the types that have only a few.
var words = map[reflect.Type][]string{
	reflect.TypeFor[qemu.Accel]():       {string(qemu.AccelAuto), string(qemu.KVM), string(qemu.TCG)},
	reflect.TypeFor[qemu.Display]():     {string(qemu.QXL), string(qemu.Virtio), string(qemu.Std)},
	reflect.TypeFor[qemu.Compression](): compressions(),
	reflect.TypeFor[harness.Agent]():    {string(harness.AgentAuto), string(harness.AgentOn), string(harness.AgentOff)},
	reflect.TypeFor[harness.Warm]():     {string(harness.WarmAuto), string(harness.WarmOff), string(harness.WarmRequire)},
	reflect.TypeFor[harness.Film]():     {string(harness.FilmOff), string(harness.FilmFailures), string(harness.FilmAlways)},
	reflect.TypeFor[proxy.Takeover]():   {string(proxy.TakeoverShare), string(proxy.TakeoverRefuse), string(proxy.TakeoverReplace)},
	reflect.TypeFor[impair.Mode]():      {string(impair.Auto), string(impair.InKernel), string(impair.InProcess)},
}

func compressions() []string {
	var all []string
	for _, c := range qemu.Compressions() {
		all = append(all, string(c))
	}
	return all
}

var (
	anyText   = schema{"type": "string"}
	anyScalar = schema{"type": []string{"string", "number", "boolean"}}
)

// schemaOf returns the schema of a type. With templates, a text with ${{ … }} is allowed for any
// value.
func schemaOf(t reflect.Type, templates bool) schema {
	or := func(s schema) schema {
		if !templates {
			return s
		}
		return schema{"anyOf": []schema{s, {"type": "string", "pattern": templateText}}}
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return or(schema{"type": "string", "pattern": durationText})
	case reflect.TypeFor[Words]():
		return schema{"anyOf": []schema{anyText, {"type": "array", "items": anyText}}}
	case reflect.TypeFor[Text]():
		return anyScalar
	case reflect.TypeFor[Jobs]():
		return schema{"type": "object", "minProperties": 1, "additionalProperties": false,
			"patternProperties": schema{idPattern.String(): schemaOf(reflect.TypeFor[Job](), false)}}
	case reflect.TypeFor[Matrix]():
		combos := schema{"type": "array", "items": schema{"type": "object", "additionalProperties": anyScalar}}
		return schema{"type": "object", "properties": schema{"include": combos, "exclude": combos},
			"additionalProperties": schema{"type": "array", "minItems": 1, "items": anyScalar}}
	case reflect.TypeFor[Value]():
		return schema{"anyOf": []schema{anyScalar, objectSchema(fieldsOf(t), templates)}}
	case reflect.TypeFor[Host]():
		return schema{"anyOf": []schema{anyText, objectSchema(fieldsOf(t), templates)}}
	case nodeType:
		s := objectSchema(laneFields(), true)
		s["type"] = []string{"object", "null"}
		return s
	}
	if list, ok := words[t]; ok {
		return or(schema{"enum": list})
	}
	if reflect.PointerTo(t).Implements(textType) {
		return anyText
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), templates)
	case reflect.Struct:
		return objectSchema(fieldsOf(t), templates)
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": schemaOf(t.Elem(), templates)}
	case reflect.Slice:
		s := schema{"type": "array", "items": schemaOf(t.Elem(), templates)}
		return s
	case reflect.String:
		return anyText
	case reflect.Bool:
		return or(schema{"type": "boolean"})
	case reflect.Float32, reflect.Float64:
		return or(schema{"type": "number"})
	}
	return or(schema{"type": "integer"})
}

func objectSchema(fields []field, templates bool) schema {
	properties := schema{}
	for _, f := range fields {
		s := schemaOf(f.typ, templates)
		if f.name == "suite" {
			var names []string
			for _, suite := range scenario.Suites() {
				names = append(names, suite.Name)
			}
			one := schema{"anyOf": []schema{{"enum": names}, {"type": "string", "pattern": templateText}}}
			s = schema{"anyOf": []schema{one, {"type": "array", "items": one}}}
		}
		c := schema{}
		for k, v := range s {
			c[k] = v
		}
		if f.doc != "" {
			c["description"] = f.doc
		}
		if f.enum != "" {
			c["enum"] = strings.Split(f.enum, ",")
			delete(c, "type")
		}
		properties[f.name] = c
	}
	return schema{"type": "object", "additionalProperties": false, "properties": properties}
}
