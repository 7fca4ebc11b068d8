package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphopt"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// modelConvert holds the flags of model convert.
type modelConvert struct {
	source, exportDir string
	version           int64
	inputs, outputs   string
	named             bool // whether inputs or outputs were given
	optimize          bool
	report            string
}

func newModelConvertCommand(u *ui) *cobra.Command {
	var f modelConvert
	cmd := &cobra.Command{
		Use:   "convert --import-path FILE --export-dir DIR [--model-version N] [--inputs A,B] [--outputs C,D]",
		Short: "Make a SavedModel of a frozen graph, as TensorFlow Serving loads it",
		Long: `convert wraps the frozen graph FILE (binary or text) as DIR/N/saved_model.pb. A
binary graph's bytes stay as they are; the signature's dtypes and shapes are read
from it. With --optimize the graph is rewritten for inference: what the
outputs do not need goes, Identity and CheckNumerics nodes are taken out, and
batch normalisations are folded into the convolutions before them. What cannot
be folded without changing an answer is left; --report tells each such node and
why. The version directory appears complete or not at all, so a server that polls DIR
never loads half a model. A version that exists is left alone; it is no error
if it has the same bytes.

FILE may also be the version directory of a SavedModel: it is checked, and
published with its variables and assets as it is.

A tensor is named by its node, as in "predict", or by more where that is not
enough:

  [key=]node[:port][@dtype[shape]]      scores=detect:1@float32[-1,10]

The key is the tensor's name for clients. A single input is called "input" and a
single output "predict"; several are called as their nodes. A dtype is needed
only where it does not follow from the graph.`,
		Example: `  ccctl model inspect resnet50_fp32_pretrained_model.pb
  ccctl model convert --import-path resnet50_fp32_pretrained_model.pb \
      --export-dir models/resnet50-v15-fp32 --model-version 1 --inputs input --outputs predict`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.named = cmd.Flags().Changed("inputs") || cmd.Flags().Changed("outputs")
			return f.run(cmd.Context(), u)
		},
	}
	cmd.Flags().StringVar(&f.source, "import-path", "", "frozen graph to convert, or SavedModel directory to publish")
	cmd.Flags().StringVar(&f.exportDir, "export-dir", "", "directory of the model's versions, TensorFlow Serving's base path")
	cmd.Flags().Int64Var(&f.version, "model-version", 1, "version of the model: the directory below DIR")
	cmd.Flags().StringVar(&f.inputs, "inputs", savedmodel.DefaultInputKey, "tensors that requests give, separated by commas")
	cmd.Flags().StringVar(&f.outputs, "outputs", savedmodel.DefaultOutputKey, "tensors that responses give, separated by commas")
	cmd.Flags().BoolVar(&f.optimize, "optimize", false, "rewrite the graph for inference: fewer nodes, the same answers but for rounding")
	cmd.Flags().StringVar(&f.report, "report", "", "file for what --optimize did and left, as JSON; - prints it in place of the result")
	require(cmd, "import-path", "export-dir")
	u.jsonFlag(cmd)
	return cmd
}

func (f *modelConvert) run(ctx context.Context, u *ui) error {
	if f.version < 0 {
		return usagef("--model-version %d is negative", f.version)
	}
	if f.report != "" && !f.optimize {
		return usagef("--report tells what --optimize did: give both or neither")
	}
	spec := deploy.SavedModelSpec{Source: f.source, ExportDir: f.exportDir, Version: f.version, Optimize: f.optimize}
	for _, side := range []struct {
		flag, value string
		into        *[]savedmodel.TensorSpec
	}{{"--inputs", f.inputs, &spec.Inputs}, {"--outputs", f.outputs, &spec.Outputs}} {
		specs, err := savedmodel.ParseTensorSpecs(side.value)
		if err != nil {
			return usagef("%s: %w", side.flag, err)
		}
		if spec.Directory() && !f.named {
			continue // it has signatures of its own
		}
		*side.into = specs
	}
	bar := u.progress("writing "+spec.File(), sizeOf(f.source))
	spec.Progress = bar.add
	model, err := deploy.PublishSavedModel(ctx, spec, deploy.PublishOptions{})
	bar.finish()
	if err != nil {
		return explainConvert(f, err)
	}
	for _, w := range model.Warnings {
		u.warn("%s: %s", f.source, w)
	}
	if !model.Written {
		u.note("%s has the same content already", model.File)
	}
	if err := f.writeReport(u, model.Optimization); err != nil || f.report == "-" {
		return err
	}
	return u.report(model, func(w io.Writer) error {
		p := printer{w: w}
		p.row("file", "%s", model.File)
		p.row("size", "%d bytes, %d nodes", model.Size, model.Nodes)
		if len(model.Files) > 1 {
			p.list("files", len(model.Files), func(i int) string { return model.Files[i] })
		}
		p.row("sha256", "%s", model.SHA256)
		for _, t := range model.Inputs {
			p.row("input", "%s\t%s\t%s\t%s", t.Key, t.Tensor, t.DType, t.Shape)
		}
		for _, t := range model.Outputs {
			p.row("output", "%s\t%s\t%s\t%s", t.Key, t.Tensor, t.DType, t.Shape)
		}
		printOptimization(&p, model.Optimization)
		return p.err
	})
}

// writeReport writes what the optimisation did to where --report says.
func (f *modelConvert) writeReport(u *ui, report *graphopt.Report) error {
	if f.report == "" {
		return nil
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	data = append(data, '\n')
	if f.report == "-" {
		_, err = u.out.Write(data)
	} else {
		err = atomicfile.WriteFile(f.report, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// passTexts say what a pass changed.
var passTexts = map[string]string{
	"prune":  "%d nodes that the signature does not need removed",
	"splice": "%d Identity and CheckNumerics nodes taken out",
	"fold":   "%d batch normalisations folded",
	"sweep":  "%d nodes removed that nothing reads any more",
}

func printOptimization(p *printer, r *graphopt.Report) {
	if r == nil {
		return
	}
	for _, pass := range r.Passes {
		p.row(pass.Name, passTexts[pass.Name], pass.Changed)
	}
	p.row("optimised", "%d of %d nodes, %d of %d bytes", r.NodesAfter, r.NodesBefore, r.BytesAfter, r.BytesBefore)
	for _, pass := range r.Passes {
		for i, left := range pass.Left {
			if i == maxPrinted {
				p.row("", "and %d more; --report lists them", len(pass.Left)+pass.More-maxPrinted)
				break
			}
			p.row("left", "%s", left)
		}
	}
}

// explainConvert adds what can be done about a failure.
func explainConvert(f *modelConvert, err error) error {
	var tensor *savedmodel.TensorError
	switch {
	case errors.As(err, &tensor):
		return withHint(err, "name the %ss with --%ss; 'ccctl model inspect %s' lists them", tensor.Role, tensor.Role, f.source)
	case errors.Is(err, deploy.ErrModelExists):
		return withHint(err, "a server may be running that version: publish this one with --model-version %d", f.version+1)
	case errors.Is(err, fs.ErrNotExist):
		return withHint(err, "--import-path is the frozen graph, a .pb file")
	default:
		return err
	}
}
