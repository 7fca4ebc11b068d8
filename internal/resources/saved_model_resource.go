package resources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

var (
	_ resource.Resource                   = (*savedModelResource)(nil)
	_ resource.ResourceWithImportState    = (*savedModelResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*savedModelResource)(nil)
	_ resource.ResourceWithValidateConfig = (*savedModelResource)(nil)
)

// savedModelResource is cc_saved_model.
type savedModelResource struct{}

// NewSavedModelResource returns cc_saved_model: a frozen TensorFlow graph
// published as a SavedModel.
func NewSavedModelResource() resource.Resource { return &savedModelResource{} }

type savedModelModel struct {
	ID            types.String `tfsdk:"id"`
	Source        types.String `tfsdk:"source"`
	SourceSHA256  types.String `tfsdk:"source_sha256"`
	ExportDir     types.String `tfsdk:"export_dir"`
	ModelVersion  types.Int64  `tfsdk:"model_version"`
	Inputs        types.List   `tfsdk:"inputs"`
	Outputs       types.List   `tfsdk:"outputs"`
	Optimize      types.Bool   `tfsdk:"optimize"`
	DigestKeyFile types.String `tfsdk:"digest_key_file"`
	OnMissing     types.String `tfsdk:"on_missing"`

	Condition      types.String `tfsdk:"condition"`
	SavedModelFile types.String `tfsdk:"saved_model_file"`
	Files          types.Map    `tfsdk:"files"`
	Digest         types.String `tfsdk:"digest"`
	Size           types.Int64  `tfsdk:"size"`
	Signature      types.Object `tfsdk:"signature"`
	Optimization   types.Object `tfsdk:"optimization"`
}

var (
	savedModelOnMissing = words{
		{"recreate", "converts again where the SavedModel is missing"},
		{"ignore", "takes what is missing here (the SavedModel or its source) for something that is kept on another machine, as on a CI runner without a disk of its own; " +
			"it needs a `digest_key_file` that the machines share"},
	}
	// Conditions that a refresh finds.
	savedModelCondition = words{
		{"intact", "it is what was published"},
		{"missing", "it or a file of it is gone"},
		{"altered", "it is another one or was damaged"},
		{"unreadable", "it could not be read"},
	}
)

const tensorSyntax = "`[key=]node[:port][@dtype[shape]]`"

func (r *savedModelResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_saved_model"
}

func (r *savedModelResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	same := []planmodifier.String{samePath{}}
	tensors := func(role savedmodel.Role, what, key string) schema.ListAttribute {
		return schema.ListAttribute{
			MarkdownDescription: fmt.Sprintf("The tensors of a frozen graph that %s (default `[%q]`), each as %s: `predict`, or `scores=detect:1@float32[-1,10]`. "+
				"The key is the tensor's name for clients; a single %s is called `%s`, several are called as their nodes. "+
				"The dtype and the shape are needed only where they do not follow from the graph.", what, key, tensorSyntax, role, key),
			ElementType: types.StringType, Optional: true, Computed: true,
			Default:       listdefault.StaticValue(types.ListValueMust(types.StringType, []attr.Value{types.StringValue(key)})),
			Validators:    []validator.List{listvalidator.SizeAtLeast(1), listvalidator.ValueStringsAre(tensorSpec{})},
			PlanModifiers: []planmodifier.List{sameTensors{role}},
		}
	}
	ends := func(what string) schema.ListNestedAttribute {
		return schema.ListNestedAttribute{
			MarkdownDescription: what, Computed: true,
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"key":    schema.StringAttribute{MarkdownDescription: "Name of the tensor for clients.", Computed: true},
				"tensor": schema.StringAttribute{MarkdownDescription: "Node and port in the graph.", Computed: true},
				"dtype":  schema.StringAttribute{MarkdownDescription: "Element type, such as `float32`.", Computed: true},
				"shape": schema.ListAttribute{MarkdownDescription: "Dimensions, `-1` for those that vary; null where the rank is not known.",
					ElementType: types.Int64Type, Computed: true},
			}},
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A SavedModel made of a frozen TensorFlow graph, published as TensorFlow Serving expects it: `EXPORT_DIR/VERSION/saved_model.pb`. " +
			"No TensorFlow is needed; the graph's bytes stay as they are unless `optimize` is set. A SavedModel's own directory, with variables and assets, is checked and published as it is. The version directory appears complete or not at all, and one with other content is never overwritten. " +
			"It is made again when the content of the source or the signature changes; the time stamp of the source does not matter. " +
			"The files are not encrypted: see `cc_encrypted_file`.",
		Attributes: map[string]schema.Attribute{
			// Required.
			"source": schema.StringAttribute{
				MarkdownDescription: "Path of the frozen graph, binary (`.pb`) or text (`.pbtxt`), which may be made by another resource in the same apply; " +
					"or a URL (`https`, `file`) of a binary one, which needs `source_sha256` and is fetched when the SavedModel is made, never for a plan; " +
					"or the version directory of a SavedModel, whose signatures stay as they are.",
				Required: true, Validators: []validator.String{modelSource{}}, PlanModifiers: same,
			},
			"export_dir": schema.StringAttribute{
				MarkdownDescription: "Directory of the model's versions: TensorFlow Serving's base path. Missing directories are made; those may read what is in them who may read the source.",
				Required:            true, Validators: []validator.String{directoryPath{}}, PlanModifiers: same,
			},
			// Optional.
			"source_sha256": schema.StringAttribute{
				MarkdownDescription: "SHA-256 that the source must have, as 64 hex digits. It is in the state as it is written here, so whoever reads the state can tell which graph it is.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[0-9a-f]{64}$`), "value must be 64 lower-case hex digits")},
			},
			"model_version": schema.Int64Attribute{
				MarkdownDescription: "Version of the model, the directory below `export_dir` (default `1`). A server that runs loads the largest; raise it to have a changed model loaded.",
				Optional:            true, Computed: true, Default: int64default.StaticInt64(1), Validators: []validator.Int64{int64validator.AtLeast(0)},
			},
			"inputs":  tensors(savedmodel.Input, "requests give", savedmodel.DefaultInputKey),
			"outputs": tensors(savedmodel.Output, "responses give", savedmodel.DefaultOutputKey),
			"optimize": schema.BoolAttribute{
				MarkdownDescription: "Rewrite the frozen graph for inference (default `false`): what the outputs do not need goes, Identity and CheckNumerics nodes are taken out, and batch normalisations " +
					"are folded into the convolutions before them. Answers are the same but for rounding; what cannot be rewritten without changing them is left, and listed in `optimization`.",
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			},
			"digest_key_file": schema.StringAttribute{
				MarkdownDescription: "Path of a file with a secret of at least 16 bytes that keys `digest`, such as the wrap key: machines that share it recognise each other's models. " +
					"By default a key is drawn and kept in `export_dir/" + deploy.DigestKeyName + "`, readable by its owner alone.",
				Optional: true, Validators: []validator.String{filePath{}}, PlanModifiers: same,
			},
			"on_missing": schema.StringAttribute{
				MarkdownDescription: "What a missing file means: " + savedModelOnMissing.markdown(),
				Optional:            true, Computed: true, Default: stringdefault.StaticString(savedModelOnMissing.byDefault()),
				Validators: []validator.String{savedModelOnMissing},
			},
			// Computed.
			"condition": schema.StringAttribute{
				MarkdownDescription: "What a refresh found of the SavedModel: " + savedModelCondition.markdown() + " Anything but intact is repaired by the next apply.",
				Computed:            true,
			},
			"saved_model_file": schema.StringAttribute{
				MarkdownDescription: "Path of `saved_model.pb`. It is known when the resource is planned, except when the content of the file is about to change: " +
					"then it is known after apply, so that what reads the file is planned again too.",
				Computed: true,
			},
			"files": schema.MapAttribute{
				MarkdownDescription: "Every file of the model: its path below the version directory, with slashes, and where it is published. The keys are known when the resource is planned, so that " +
					"`for_each` encrypts each of them; a path is known after apply when the content is about to change. Of a directory that does not exist yet nothing is known before apply.",
				ElementType: types.StringType, Computed: true,
			},
			"digest": schema.StringAttribute{
				MarkdownDescription: "Digest of the model's files under a key that is not in the state: it tells whether the model changed, and confirms no guess at which model it is.",
				Computed:            true,
			},
			"size": schema.Int64Attribute{MarkdownDescription: "Size of the model's files in bytes.", Computed: true},
			"signature": schema.SingleNestedAttribute{
				MarkdownDescription: "The signature `serving_default`, by which clients call the model.", Computed: true,
				Attributes: map[string]schema.Attribute{"inputs": ends("What requests give."), "outputs": ends("What responses give.")},
			},
			"optimization": schema.SingleNestedAttribute{
				MarkdownDescription: "What `optimize` did; null without it.", Computed: true,
				Attributes: map[string]schema.Attribute{
					"nodes_before":       schema.Int64Attribute{MarkdownDescription: "Nodes of the graph in the source.", Computed: true},
					"nodes_after":        schema.Int64Attribute{MarkdownDescription: "Nodes of the graph in the model.", Computed: true},
					"bytes_before":       schema.Int64Attribute{MarkdownDescription: "Size of the graph in the source in bytes.", Computed: true},
					"bytes_after":        schema.Int64Attribute{MarkdownDescription: "Size of the graph in the model in bytes.", Computed: true},
					"batch_norms_folded": schema.Int64Attribute{MarkdownDescription: "Batch normalisations that are now part of a convolution's weights.", Computed: true},
					"left": schema.ListAttribute{MarkdownDescription: fmt.Sprintf("What could not be rewritten safely and why, the first %d; `ccctl model convert --report` lists all.", maxLeftListed),
						ElementType: types.StringType, Computed: true},
				},
			},
			"id": schema.StringAttribute{MarkdownDescription: "The version directory.", Computed: true},
		},
	}
}

// ValidateConfig wants a digest where anybody else could change the source.
func (r *savedModelResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m savedModelModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if spec := (deploy.SavedModelSpec{Source: m.Source.ValueString()}); spec.Remote() && m.SourceSHA256.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("source_sha256"), "Source without digest",
			"A source that is a URL needs source_sha256, so that nobody but you decides which model is served.")
	}
}

func (r *savedModelResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m savedModelModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !m.publish(ctx, deploy.PublishOptions{}, &resp.Diagnostics) {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Read only notes the condition it finds the file in: the state goes on to say
// which file there should be, and the plan shows the condition that changes.
func (r *savedModelResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m savedModelModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	err := m.observe(ctx)
	if ctx.Err() != nil { // what was found so far says nothing about the file
		addError(&resp.Diagnostics, path.Root("export_dir"), "Refresh interrupted", fmt.Errorf("read the SavedModel: %w", ctx.Err()))
		return
	}
	if errors.Is(err, fs.ErrNotExist) && m.OnMissing.ValueString() == "ignore" {
		err = nil
	}
	m.Condition = types.StringValue(modelCondition(err))
	if err != nil {
		addWarning(&resp.Diagnostics, path.Root("export_dir"), "SavedModel "+m.Condition.ValueString(), err)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *savedModelResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old savedModelModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	moved := m.moved(old)
	switch {
	case moved || m.SavedModelFile.IsUnknown(): // ModifyPlan left open what is to be made again
		if !m.publish(ctx, old.replaceable(moved), &resp.Diagnostics) {
			return
		}
	case m.Digest.IsUnknown():
		if !m.rekey(ctx, &resp.Diagnostics) {
			return
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	if moved { // after the new one is there and known
		old.remove(ctx, &resp.Diagnostics)
	}
}

func (r *savedModelResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m savedModelModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.remove(ctx, &resp.Diagnostics)
}

// ImportState adopts a SavedModel that ccctl made of a graph that is still
// there.
func (r *savedModelResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m, err := adoptSavedModel(ctx, req.ID)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "", &deploy.Error{Summary: "SavedModel not imported", Err: err, Remedy: savedModelImportHelp})
		return
	}
	tflog.Debug(ctx, "adopted SavedModel", map[string]any{"file": m.SavedModelFile.ValueString()})
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
