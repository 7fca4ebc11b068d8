package graphwire

import (
	"bytes"
	"testing"
)

func openBytes(tb testing.TB, data []byte) *Graph {
	tb.Helper()
	g, err := OpenGraph(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	return g
}
