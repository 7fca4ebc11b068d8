package savedmodel

import (
	"bytes"
	"os"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// digits is the model that the quickstart ships.
const digits = "../../../examples/quickstart/model/digits.pb"

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func openBytes(tb testing.TB, data []byte) *graphwire.Graph {
	tb.Helper()
	g, err := graphwire.OpenGraph(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	return g
}
