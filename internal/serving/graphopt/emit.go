package graphopt

import (
	"io"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// copyBuffer is large enough that system calls do not count, in bytes.
const copyBuffer = 256 << 10

// part is a piece of the result: bytes, a range of the file, or folded weights.
type part struct {
	data     []byte
	off, end int64
	fold     *fold
}

func (p part) size() int64 {
	if p.fold != nil {
		return p.fold.size()
	}
	return int64(len(p.data)) + p.end - p.off
}

// layouter collects parts; neighbours become one.
type layouter struct {
	o     *optimizer
	parts []part
	size  int64
}

func (l *layouter) bytes(b []byte) {
	l.size += int64(len(b))
	if n := len(l.parts); n > 0 && l.parts[n-1].data != nil {
		l.parts[n-1].data = append(l.parts[n-1].data, b...)
		return
	}
	l.parts = append(l.parts, part{data: append([]byte{}, b...)})
}

func (l *layouter) copy(off, end int64) {
	if off == end {
		return
	}
	l.size += end - off
	if n := len(l.parts); n > 0 && l.parts[n-1].data == nil && l.parts[n-1].fold == nil && l.parts[n-1].end == off {
		l.parts[n-1].end = end
		return
	}
	l.parts = append(l.parts, part{off: off, end: end})
}

func (l *layouter) weights(f *fold) {
	l.size += f.size()
	l.parts = append(l.parts, part{fold: f})
}

// layout lists what the result is made of: everything of the file but the nodes
// that are gone, and new nodes in front of those that read them.
func (o *optimizer) layout() ([]part, int64, error) {
	l := &layouter{o: o}
	pos := o.g.Start
	for i := range o.g.Nodes {
		from, n := &o.g.Nodes[i], &o.nodes[i]
		l.copy(pos, from.Field) // fields that are no nodes
		pos = from.End
		for _, j := range o.before[int32(i)] { // Below the limit of the index.
			if o.nodes[j].kept {
				l.make(&o.nodes[j])
			}
		}
		switch {
		case !n.kept:
		case n.made != nil:
			l.make(n)
		case slices.Equal(n.inputs, from.Inputs):
			l.copy(from.Field, from.End)
		default:
			if err := l.rewire(from, n); err != nil {
				return nil, 0, err
			}
		}
	}
	l.copy(pos, o.g.End)
	return l.parts, l.size, nil
}

// make writes a new node.
func (l *layouter) make(n *node) {
	b := graphwire.AppendString(nil, graphwire.NodeName, n.name)
	b = graphwire.AppendString(b, graphwire.NodeOp, n.op)
	for _, e := range n.inputs {
		b = graphwire.AppendString(b, graphwire.NodeInput, l.text(e))
	}
	if n.made.device != "" {
		b = graphwire.AppendString(b, graphwire.NodeDevice, n.made.device)
	}
	b = append(b, n.made.attrs...)
	f := n.made.fold
	if f == nil {
		l.bytes(graphwire.AppendBytes(nil, graphwire.GraphNode, b))
		return
	}
	b = append(b, f.head()...)
	head := protowire.AppendTag(nil, graphwire.GraphNode, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(int64(len(b))+f.size())) // Not negative.
	l.bytes(append(head, b...))
	l.weights(f)
}

// rewire copies a node of the file with other inputs, which come where the first
// one was. Everything else stays as it is.
func (l *layouter) rewire(from *graphwire.Node, n *node) error {
	body := layouter{o: l.o}
	pos, first := from.Start, true
	m := graphwire.NewMessage(l.o.g.W, "NodeDef "+n.name, from.Start, from.End)
	err := m.Each(func(f graphwire.Field) error {
		if f.Num != graphwire.NodeInput {
			return nil
		}
		body.copy(pos, f.Start)
		pos = f.End()
		if first {
			first = false
			for _, e := range n.inputs {
				body.bytes(graphwire.AppendString(nil, graphwire.NodeInput, l.text(e)))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	body.copy(pos, from.End)
	head := protowire.AppendTag(nil, graphwire.GraphNode, protowire.BytesType)
	l.bytes(protowire.AppendVarint(head, uint64(body.size))) // Not negative.
	for _, p := range body.parts {
		if p.data != nil {
			l.bytes(p.data)
		} else {
			l.copy(p.off, p.end)
		}
	}
	return nil
}

// text is an edge as a NodeDef names it.
func (l *layouter) text(e graphwire.Edge) string {
	name := l.o.nodes[e.Node].name
	switch e.Port {
	case graphwire.ControlPort:
		return "^" + name
	case 0:
		return name
	}
	return name + ":" + strconv.Itoa(int(e.Port))
}

// WriteTo writes the graph. It can be called again and writes the same bytes.
func (o *Graph) WriteTo(dst io.Writer) (int64, error) {
	buf := make([]byte, copyBuffer)
	written := int64(0)
	for _, p := range o.parts {
		var err error
		switch {
		case p.fold != nil:
			err = p.fold.writeTo(dst)
		case p.data != nil:
			_, err = dst.Write(p.data)
		default:
			err = o.copy(dst, p, buf)
		}
		if err != nil {
			return written, err
		}
		written += p.size()
	}
	return written, nil
}

func (o *Graph) copy(dst io.Writer, p part, buf []byte) error {
	for off := p.off; off < p.end; {
		b := buf[:min(int64(len(buf)), p.end-off)]
		if err := graphwire.ReadFull(o.g.W.R, b, off); err != nil {
			return err
		}
		if _, err := dst.Write(b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}
