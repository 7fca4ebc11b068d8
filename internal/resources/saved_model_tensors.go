package resources

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphopt"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// This file has the validators of cc_saved_model, and translates its tensors:
// the lists inputs and outputs, and the attribute signature.

// tensorType and signatureType are the types of the attribute signature.
var (
	tensorType = types.ObjectType{AttrTypes: map[string]attr.Type{
		"key": types.StringType, "tensor": types.StringType, "dtype": types.StringType, "shape": types.ListType{ElemType: types.Int64Type},
	}}
	signatureType = types.ObjectType{AttrTypes: map[string]attr.Type{
		"inputs": types.ListType{ElemType: tensorType}, "outputs": types.ListType{ElemType: tensorType},
	}}
)

func signatureValue(model deploy.SavedModel) types.Object {
	side := func(tensors []savedmodel.SignatureTensor) attr.Value {
		var values []attr.Value
		for _, t := range tensors {
			shape := types.ListNull(types.Int64Type)
			if t.Shape.Known {
				dims := []attr.Value{}
				for _, d := range t.Shape.Dims {
					dims = append(dims, types.Int64Value(d))
				}
				shape = types.ListValueMust(types.Int64Type, dims)
			}
			values = append(values, types.ObjectValueMust(tensorType.AttrTypes, map[string]attr.Value{
				"key": types.StringValue(t.Key), "tensor": types.StringValue(t.Tensor), "dtype": types.StringValue(t.DType.String()), "shape": shape,
			}))
		}
		return types.ListValueMust(tensorType, values)
	}
	return types.ObjectValueMust(signatureType.AttrTypes, map[string]attr.Value{"inputs": side(model.Inputs), "outputs": side(model.Outputs)})
}

// filesValue maps the files of a model to where they are published.
func filesValue(spec deploy.SavedModelSpec, names []string) types.Map {
	paths := map[string]attr.Value{}
	for _, name := range names {
		paths[name] = types.StringValue(filepath.Join(spec.VersionDir(), filepath.FromSlash(name)))
	}
	return types.MapValueMust(types.StringType, paths)
}

// unknownPaths keeps the names, so that for_each can go on from them.
func unknownPaths(files types.Map) types.Map {
	if files.IsUnknown() {
		return files
	}
	paths := map[string]attr.Value{}
	for name := range files.Elements() {
		paths[name] = types.StringUnknown()
	}
	return types.MapValueMust(types.StringType, paths)
}

// maxLeftListed bounds what a state has of what an optimisation left.
const maxLeftListed = 100

var optimizationType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"nodes_before": types.Int64Type, "nodes_after": types.Int64Type, "bytes_before": types.Int64Type, "bytes_after": types.Int64Type,
	"batch_norms_folded": types.Int64Type, "left": types.ListType{ElemType: types.StringType},
}}

func optimizationValue(r *graphopt.Report) types.Object {
	if r == nil {
		return types.ObjectNull(optimizationType.AttrTypes)
	}
	left := []attr.Value{}
	for _, l := range r.Left() {
		if len(left) == maxLeftListed {
			break
		}
		left = append(left, types.StringValue(l.String()))
	}
	return types.ObjectValueMust(optimizationType.AttrTypes, map[string]attr.Value{
		"nodes_before": types.Int64Value(int64(r.NodesBefore)), "nodes_after": types.Int64Value(int64(r.NodesAfter)),
		"bytes_before": types.Int64Value(r.BytesBefore), "bytes_after": types.Int64Value(r.BytesAfter),
		"batch_norms_folded": types.Int64Value(int64(r.Folded())), "left": types.ListValueMust(types.StringType, left),
	})
}

func tensorSpecs(list types.List) ([]savedmodel.TensorSpec, error) {
	specs := make([]savedmodel.TensorSpec, 0, len(list.Elements()))
	for _, v := range list.Elements() {
		s, ok := v.(types.String)
		if !ok {
			return nil, fmt.Errorf("read list of tensors: it has a %T", v)
		}
		spec, err := savedmodel.ParseTensorSpec(s.ValueString())
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// isDefault tells a list that says nothing, as for a source that has signatures
// of its own.
func isDefault(role savedmodel.Role, list types.List) bool {
	specs, err := tensorSpecs(list)
	return err == nil && slices.EqualFunc(savedmodel.WithKeys(role, specs), savedmodel.WithKeys(role, nil), savedmodel.TensorSpec.Equal)
}

func specsValue(role savedmodel.Role, specs []savedmodel.TensorSpec) types.List {
	if len(specs) == 0 {
		specs = []savedmodel.TensorSpec{{Node: savedmodel.WithKeys(role, nil)[0].Node}}
	}
	var values []attr.Value
	for _, s := range specs {
		values = append(values, types.StringValue(s.String()))
	}
	return types.ListValueMust(types.StringType, values)
}

// tensorSpec accepts what names a tensor.
type tensorSpec struct{}

func (tensorSpec) Description(context.Context) string {
	return "value must name a tensor: " + strings.Trim(tensorSyntax, "`")
}

func (v tensorSpec) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v tensorSpec) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if _, err := savedmodel.ParseTensorSpec(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), err.Error()))
	}
}

// sameTensors keeps the list in the state when the configuration asks for the
// same in other words, such as input:0 for input.
type sameTensors struct{ role savedmodel.Role }

func (sameTensors) Description(context.Context) string {
	return "another spelling of the same tensors is not a change"
}

func (m sameTensors) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (m sameTensors) PlanModifyList(ctx context.Context, req planmodifier.ListRequest, resp *planmodifier.ListResponse) {
	if req.StateValue.IsNull() || !fullyKnown(ctx, req.PlanValue) {
		return
	}
	old, errOld := tensorSpecs(req.StateValue)
	now, errNow := tensorSpecs(req.PlanValue)
	if errOld == nil && errNow == nil && slices.EqualFunc(savedmodel.WithKeys(m.role, old), savedmodel.WithKeys(m.role, now), savedmodel.TensorSpec.Equal) {
		resp.PlanValue = req.StateValue
	}
}

// modelSource accepts a path, or a URL that can be fetched.
type modelSource struct{}

func (modelSource) Description(context.Context) string {
	return "value must be the path of a file or directory, or a URL of the scheme https or file without user name and password"
}

func (v modelSource) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v modelSource) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	s := req.ConfigValue.ValueString()
	if !(deploy.SavedModelSpec{Source: s}).Remote() {
		if dir := strings.TrimRight(s, "/"); dir != "" { // it may be a directory
			req.ConfigValue = types.StringValue(dir)
		}
		filePath{}.ValidateString(ctx, req, resp)
		return
	}
	if err := deploy.CheckFetchURL(s); err != nil {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), err.Error()))
	}
}
