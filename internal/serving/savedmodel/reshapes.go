package savedmodel

import (
	"slices"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// The shape rules of operations that move dimensions about.

// reduceShape is of Mean, Sum and their like: input, axes; keep_dims.
func reduceShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return Shape{}, err
	}
	axes, ok, err := in.vector(n, 1)
	if err != nil || !ok {
		return Shape{}, err
	}
	drop := make([]bool, len(x.Dims))
	for _, axis := range axes {
		i, ok := axisOf(axis, len(x.Dims))
		if !ok {
			return Shape{}, nil
		}
		drop[i] = true
	}
	dims := []int64{}
	for i, d := range x.Dims {
		switch {
		case !drop[i]:
			dims = append(dims, d)
		case a.Boolean("keep_dims", false):
			dims = append(dims, 1)
		}
	}
	return ShapeOf(dims...), nil
}

// axisOf is the dimension that a possibly negative axis names.
func axisOf(axis int64, rank int) (int, bool) {
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), axis >= 0 && axis < int64(rank)
}

// reshapeShape is of Reshape: tensor, shape. One -1 in the shape takes what is
// left over.
func reshapeShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	target, ok, err := in.vector(n, 1)
	if err != nil || !ok {
		return Shape{}, err
	}
	x, err := sameShape(in, n, a)
	if err != nil {
		return Shape{}, err
	}
	dims := slices.Clone(target)
	free, product, computed := -1, int64(1), false
	for i, d := range target {
		switch {
		case d == unknownValue:
			dims[i], computed = -1, true
		case d == -1 && free < 0:
			free = i
		case d < 0 || (d > 0 && product > graphwire.MaxElements/d):
			return Shape{}, nil
		default:
			product *= d
		}
	}
	if count, ok := x.Elements(); ok && free >= 0 && !computed && product > 0 && count%product == 0 {
		dims[free] = count / product
	}
	return ShapeOf(dims...), nil
}

func squeezeShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return Shape{}, err
	}
	axes, err := a.Ints("squeeze_dims")
	if err != nil {
		return Shape{}, err
	}
	drop := make([]bool, len(x.Dims))
	for _, axis := range axes {
		i, ok := axisOf(axis, len(x.Dims))
		if !ok {
			return Shape{}, nil
		}
		drop[i] = true
	}
	dims := []int64{}
	for i, d := range x.Dims {
		switch {
		case len(axes) == 0 && d == -1:
			return Shape{}, nil // gone if it turns out to be 1
		case len(axes) == 0 && d == 1, drop[i]:
		default:
			dims = append(dims, d)
		}
	}
	return ShapeOf(dims...), nil
}

func expandDimsShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return Shape{}, err
	}
	axis, ok, err := in.vector(n, 1)
	if err != nil || !ok || len(axis) != 1 {
		return Shape{}, err
	}
	i, ok := axisOf(axis[0], len(x.Dims)+1)
	if !ok {
		return Shape{}, nil
	}
	return ShapeOf(slices.Insert(slices.Clone(x.Dims), i, 1)...), nil
}

func transposeShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil {
		return Shape{}, err
	}
	order, ok, err := in.vector(n, 1)
	if err != nil || !ok || (x.Known && len(order) != len(x.Dims)) {
		return Shape{}, err
	}
	dims := make([]int64, len(order))
	for i, from := range order {
		dims[i] = -1
		if j, ok := axisOf(from, len(order)); ok && x.Known {
			dims[i] = x.Dims[j]
		}
	}
	return ShapeOf(dims...), nil
}

// concatShape is of ConcatV2: values..., axis.
func concatShape(in *inference, n *graphwire.Node, _ *graphwire.Attrs) (Shape, error) {
	data := n.Inputs
	for len(data) > 0 && data[len(data)-1].Port == graphwire.ControlPort {
		data = data[:len(data)-1]
	}
	if len(data) < 2 {
		return Shape{}, nil
	}
	axis, ok, err := in.vector(n, len(data)-1)
	if err != nil || !ok || len(axis) != 1 {
		return Shape{}, err
	}
	var dims []int64
	at := 0
	for i := range data[:len(data)-1] {
		t, err := in.input(n, i)
		if err != nil || !t.Shape.Known {
			return Shape{}, err
		}
		if i == 0 {
			dims = slices.Clone(t.Shape.Dims)
			if at, ok = axisOf(axis[0], len(dims)); !ok {
				return Shape{}, nil
			}
			continue
		}
		if len(t.Shape.Dims) != len(dims) {
			return Shape{}, nil
		}
		for j, d := range t.Shape.Dims {
			switch {
			case j != at && dims[j] == -1:
				dims[j] = d
			case j == at && (dims[j] == -1 || d == -1 || d > graphwire.MaxElements || dims[j] > graphwire.MaxElements):
				dims[j] = -1
			case j == at:
				dims[j] += d
			}
		}
	}
	return ShapeOf(dims...), nil
}

func packShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return Shape{}, err
	}
	i, ok := axisOf(a.Integer("axis", 0), len(x.Dims)+1)
	if !ok {
		return Shape{}, nil
	}
	return ShapeOf(slices.Insert(slices.Clone(x.Dims), i, a.Integer("N", -1))...), nil
}

// padShape is of Pad: tensor, paddings of two numbers a dimension.
func padShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return Shape{}, err
	}
	pads, ok, err := in.vector(n, 1)
	if err != nil || !ok || len(pads) != 2*len(x.Dims) {
		return Shape{}, err
	}
	dims := slices.Clone(x.Dims)
	for i, d := range dims {
		before, after := pads[2*i], pads[2*i+1]
		if d < 0 || d > graphwire.MaxElements || before < 0 || after < 0 || before > graphwire.MaxElements || after > graphwire.MaxElements {
			dims[i] = -1
			continue
		}
		dims[i] = d + before + after
	}
	return ShapeOf(dims...), nil
}

func argMaxShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return Shape{}, err
	}
	axis, ok, err := in.vector(n, 1)
	if err != nil || !ok || len(axis) != 1 {
		return Shape{}, err
	}
	i, ok := axisOf(axis[0], len(x.Dims))
	if !ok {
		return Shape{}, nil
	}
	return ShapeOf(slices.Delete(slices.Clone(x.Dims), i, i+1)...), nil
}

// shapeShape is of Shape: a vector as long as the input's rank.
func shapeShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known {
		return ShapeOf(-1), err
	}
	return ShapeOf(int64(len(x.Dims))), nil
}

// resizeShape is of ResizeBilinear: NHWC images, new height and width.
func resizeShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	if err != nil || !x.Known || len(x.Dims) != 4 {
		return Shape{}, err
	}
	size, ok, err := in.vector(n, 1)
	if err != nil || !ok || len(size) != 2 {
		return Shape{}, err
	}
	dims := slices.Clone(x.Dims)
	for i, d := range size {
		dims[i+1] = max(d, -1)
	}
	return ShapeOf(dims...), nil
}

// fillShape is of Fill: shape, value.
func fillShape(in *inference, n *graphwire.Node, _ *graphwire.Attrs) (Shape, error) {
	dims, ok, err := in.vector(n, 0)
	if err != nil || !ok {
		return Shape{}, err
	}
	dims = slices.Clone(dims)
	for i, d := range dims {
		dims[i] = max(d, -1)
	}
	return ShapeOf(dims...), nil
}
