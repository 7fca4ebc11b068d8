package savedmodel

import "github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

// The vocabulary of graphs, under the names by which users of this package know
// it.
type (
	// DataType is the element type of a tensor.
	DataType = graphwire.DataType
	// Shape is the shape of a tensor.
	Shape = graphwire.Shape
	// FormatError says that a file is not in the expected format.
	FormatError = graphwire.FormatError
	// Problem is something that keeps a graph from being served.
	Problem = graphwire.Problem
	// NotServableError says why TensorFlow Serving could not run a graph.
	NotServableError = graphwire.NotServableError
)

// The data types that this package gives a meaning to.
const (
	Invalid  = graphwire.Invalid
	Float32  = graphwire.Float32
	Int32    = graphwire.Int32
	UInt8    = graphwire.UInt8
	Int64    = graphwire.Int64
	String   = graphwire.String
	Bool     = graphwire.Bool
	Resource = graphwire.Resource
	Variant  = graphwire.Variant
)

// ShapeOf is the shape with the given dimensions, -1 for unknown ones.
func ShapeOf(dims ...int64) Shape { return graphwire.ShapeOf(dims...) }

// ParseDataType reads a type's name as TensorFlow writes it, such as "float32".
func ParseDataType(name string) (DataType, error) { return graphwire.ParseDataType(name) }
