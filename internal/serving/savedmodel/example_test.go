package savedmodel_test

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

func ExampleConvert() {
	f, err := os.Open("../../../examples/quickstart/model/digits.pb")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	report, err := savedmodel.Convert(io.Discard, f, info.Size(), savedmodel.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range append(report.Inputs, report.Outputs...) {
		fmt.Println(t.Key, t.Tensor, t.DType, t.Shape)
	}
	// Output:
	// input input:0 float32 [-1,8,8,1]
	// predict predict:0 float32 [-1,10]
}
