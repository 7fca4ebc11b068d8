package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtext"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

func newModelCommand(u *ui) *cobra.Command {
	return group("model", "TensorFlow models: fetch them, look into them, convert them, without TensorFlow",
		newModelFetchCommand(u), newModelInspectCommand(u), newModelConvertCommand(u))
}

// modelCode is the exit code of a finding about a model file.
func modelCode(err error) int {
	var format *savedmodel.FormatError
	var text *graphtext.Error
	switch {
	case errors.As(err, &format), errors.As(err, &text):
		return exitFormat
	case errors.Is(err, deploy.ErrSourceDigest):
		return exitNotGenuine
	case errors.Is(err, deploy.ErrUnreachable):
		return exitUnreachable
	default:
		return exitOK
	}
}

func newModelInspectCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Tell a model's inputs, outputs and operations, and whether it can be served",
		Long: `inspect describes FILE, a frozen graph (binary or text) or a SavedModel (its
saved_model.pb or the directory of it), told apart by content. Inputs of a frozen graph are its
placeholders, outputs what no other node consumes: the names to convert it with.`,
		Example: `  ccctl model inspect resnet50_fp32_pretrained_model.pb
  ccctl model inspect models/resnet50-v15-fp32/1 --json`,
		Args: args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := deploy.InspectSavedModel(args[0])
			if err != nil {
				return err
			}
			return u.report(info, func(w io.Writer) error { return printModel(w, info) })
		},
	}
	u.jsonFlag(cmd)
	return cmd
}

// maxPrinted is how many lines of a list the text form has; JSON has all.
const maxPrinted = 12

func printModel(w io.Writer, info *savedmodel.GraphInfo) error {
	p := printer{w: w}
	p.row("kind", "%s", info.Kind)
	p.row("size", "%d bytes", info.Size)
	version := ""
	if info.Producer != 0 {
		version = fmt.Sprintf(", made for GraphDef version %d", info.Producer)
	}
	p.row("graph", "%d nodes%s", info.Nodes, version)
	if n := len(info.Functions); n > 0 {
		p.list("functions", n, func(i int) string { return info.Functions[i] })
	}
	for _, m := range info.MetaGraphs {
		written := ""
		if m.TensorFlow != "" {
			written = ", written by TensorFlow " + m.TensorFlow
		}
		p.row("tags", "%s%s", strings.Join(m.Tags, " "), written)
		for _, s := range m.Signatures {
			p.row("signature", "%s, %s", s.Key, s.Method)
			for _, t := range s.Inputs {
				p.row("", "in\t%s", tensorText(t))
			}
			for _, t := range s.Outputs {
				p.row("", "out\t%s", tensorText(t))
			}
		}
	}
	if len(info.MetaGraphs) == 0 {
		p.list("inputs", len(info.Inputs), func(i int) string { return tensorText(info.Inputs[i]) })
		p.list("outputs", len(info.Outputs), func(i int) string { return tensorText(info.Outputs[i]) })
	}
	p.list("operations", len(info.Operations), func(i int) string {
		o := info.Operations[i]
		return fmt.Sprintf("%s\t%d\t%d bytes", o.Op, o.Count, o.Bytes)
	})
	if len(info.Variables) > 0 {
		p.list("variables", len(info.Variables), func(i int) string { return info.Variables[i] })
	}
	if info.BatchNorms > 0 {
		p.row("batch norms", "%d", info.BatchNorms)
	}
	for _, warning := range info.Warnings {
		p.row("warning", "%s", warning)
	}
	if info.Servable {
		p.row("servable", "yes")
	} else {
		p.list("servable", len(info.Problems), func(i int) string { return "no: " + info.Problems[i].String() })
	}
	return p.err
}

func tensorText(t savedmodel.SignatureTensor) string {
	if node, port, _ := strings.Cut(t.Tensor, ":"); t.Key == node && port == "0" {
		return fmt.Sprintf("%s\t%s\t%s", t.Key, t.DType, t.Shape)
	}
	return fmt.Sprintf("%s = %s\t%s\t%s", t.Key, t.Tensor, t.DType, t.Shape)
}

// row writes a line with a label.
func (p *printer) row(label, format string, a ...any) {
	p.line("%s\t%s", label, fmt.Sprintf(format, a...))
}

// list writes the first of n items, the label before the first alone.
func (p *printer) list(label string, n int, item func(int) string) {
	if n == 0 {
		p.row(label, "none")
	}
	for i := range min(n, maxPrinted) {
		p.row(label, "%s", item(i))
		label = ""
	}
	if n > maxPrinted {
		p.row("", "and %d more; --json lists them", n-maxPrinted)
	}
}
