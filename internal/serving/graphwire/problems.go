package graphwire

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is something that keeps a graph from being served.
type Problem struct {
	Node   string `json:"node"` // empty when it is of the graph as a whole
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

func (p Problem) String() string {
	s := p.Reason + "; " + p.Remedy
	if p.Node != "" {
		s = fmt.Sprintf("node %q: %s", p.Node, s)
	}
	return s
}

// Problems keeps the first few and counts the rest.
type Problems struct {
	List []Problem
	More int
}

// Add adds a problem: what it is and what to do.
func (p *Problems) Add(node, reason, remedy string) {
	if len(p.List) == MaxProblems {
		p.More++
		return
	}
	p.List = append(p.List, Problem{Node: node, Reason: reason, Remedy: remedy})
}

// Err is a [*NotServableError], or nil without problems.
func (p *Problems) Err() error {
	if len(p.List) == 0 {
		return nil
	}
	return &NotServableError{Problems: slices.Clone(p.List), More: p.More}
}

// A NotServableError says why TensorFlow Serving could not run a graph.
type NotServableError struct {
	Problems []Problem // at most 20
	More     int       // Problems beyond those
}

func (e *NotServableError) Error() string {
	var b strings.Builder
	b.WriteString("the graph cannot be served: ")
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	return b.String()
}
