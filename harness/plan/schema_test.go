package plan_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness/plan"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := plan.Schema()
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("plan.json", doc))
	s, err := c.Compile("plan.json")
	require.NoError(t, err)
	return s
}

// validate validates a YAML text.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal(text, &v))
	b, err := json.Marshal(v)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	return s.Validate(doc)
}

func TestTheSchemaAcceptsThePlansThatLoad(t *testing.T) {
	s := compileSchema(t)
	examples, err := filepath.Glob("../../examples/plans/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, file := range examples {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, validate(t, s, text), file)
		_, err = plan.Load(t.Context(), file, plan.Options{Dry: true})
		require.NoError(t, err, file)
	}
	require.NoError(t, validate(t, s, []byte(matrixPlan)))
}

func TestTheSchemaRefusesWhatLoadRefuses(t *testing.T) {
	s := compileSchema(t)
	for _, text := range []string{
		"name: 7\njobs: {a: {steps: [{run: x}]}}\n",
		"jobs: {a: {step: []}}\n",
		"jobs: {a: {timeout: 10, steps: [{run: x}]}}\n",
		"jobs: {a: {steps: [{lane: {displya: qxl}}]}}\n",
		"jobs: {a: {steps: [{lane: {display: cga}}]}}\n",
		"jobs: {a: {steps: [{lane: {memory_mib: big}}]}}\n",
		"jobs: {a: {steps: [{lane: }, {suite: boots}]}}\n",
		"jobs: {a: {retry: {backoff: random}, steps: [{run: x}]}}\n",
		"jobs: {'1a': {steps: [{run: x}]}}\n",
		"name: x\n",
	} {
		require.Error(t, validate(t, s, []byte(text)), text)
		_, err := load(t, text)
		require.Error(t, err, text)
	}
}
