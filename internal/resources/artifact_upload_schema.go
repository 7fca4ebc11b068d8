package resources

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// Permission bits unless others are wished.
const (
	defaultFileMode      = "0644"
	defaultDirectoryMode = "0755"
)

var artifactOnDestroy = words{
	{"delete", "removes from the machine what was uploaded, and the directories made for it that are empty then"},
	{"keep", "leaves it there"},
}

func artifactUploadSchema(ctx context.Context) schema.Schema {
	mode := func(description, byDefault string) schema.StringAttribute {
		return schema.StringAttribute{
			MarkdownDescription: description + " Default: `\"" + byDefault + "\"`.", Optional: true, Computed: true,
			Default: stringdefault.StaticString(byDefault), Validators: []validator.String{fileModeText},
		}
	}
	flag := func(description string) schema.BoolAttribute {
		return schema.BoolAttribute{MarkdownDescription: description + " Default: `false`.", Optional: true, Computed: true, Default: booldefault.StaticBool(false)}
	}
	return schema.Schema{
		MarkdownDescription: "Files on the machine of the enclave: what lies in a directory here is there too, such as the encrypted models and `ssl.cfg`. " +
			"Only what differs is sent; it is compared by SHA-256 on both sides, and gets its name there when it has arrived whole. An upload that was interrupted " +
			"goes on where it ended. That machine is not trusted: a file that is not a protected file of Gramine is refused when planning unless `plaintext` names it, and " +
			"a private key is refused in any case. Other files in the directory there are neither replaced nor removed.",
		Attributes: map[string]schema.Attribute{
			"host": hostAttribute("The machine that gets the files: a Linux distribution with the GNU programs."),
			"directory": schema.StringAttribute{
				MarkdownDescription: "Absolute path of the directory there. It is made if it does not exist. Another one replaces the upload. " +
					"It holds a list of what was uploaded, `.cc-upload.json`, which tells these files from others.",
				Required: true, Validators: []validator.String{hostDirectory}, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"source": schema.StringAttribute{
				MarkdownDescription: "Directory here whose files are uploaded, with all below it. It may be made in the same apply. Symbolic links in it are refused. " +
					"Exactly one of `source` and `files` is required.",
				Optional: true, Validators: []validator.String{directoryPath{}}, PlanModifiers: []planmodifier.String{samePath{}},
			},
			"files": schema.MapAttribute{
				MarkdownDescription: "Single files instead: the path here, by the name there, which is relative to `directory`.",
				Optional:            true, ElementType: types.StringType,
				Validators: []validator.Map{mapvalidator.SizeAtLeast(1), mapvalidator.KeysAre(artifactName), mapvalidator.ValueStringsAre(filePath{})},
			},
			"plaintext": schema.SetAttribute{
				MarkdownDescription: "Names, relative to `directory`, of files that are uploaded although they are no protected files: whoever controls that machine can read them.",
				Optional:            true, ElementType: types.StringType, Validators: []validator.Set{setvalidator.SizeAtLeast(1), setvalidator.ValueStringsAre(artifactName)},
			},
			"triggers": schema.MapAttribute{
				MarkdownDescription: "Values whose change makes the apply look at the files again, such as `cc_encrypted_file.model.header_sha256`: what another resource makes of a file in the " +
					"same apply is not known when planning. Without them it is uploaded by the apply after that one.",
				Optional: true, ElementType: types.StringType,
			},
			"file_mode":      mode("Permission bits of the files there, in octal.", defaultFileMode),
			"directory_mode": mode("Permission bits of directories that are made there, in octal.", defaultDirectoryMode),
			"delete_stale": flag("Whether files that this resource uploaded earlier, and that are no longer here, are removed there. Otherwise they stay and are listed in `stale`. " +
				"With `on_destroy = \"delete\"` they go in the end too."),
			"allow_overwrite": flag("Whether files of the same names that this resource has not put there are replaced. Otherwise an apply that finds such a file, with another content, fails before it has changed anything."),
			"on_destroy": schema.StringAttribute{
				MarkdownDescription: "What destroying the resource does: " + artifactOnDestroy.markdown(),
				Optional:            true, Computed: true, Default: stringdefault.StaticString(artifactOnDestroy.byDefault()), Validators: []validator.String{artifactOnDestroy},
			},
			"timeouts": timeoutsAttribute(ctx, timeouts.Opts{Create: true, Update: true, Delete: true,
				CreateDescription: "How long the upload may take. Default: `2h`. What has arrived by then is not sent again.",
				UpdateDescription: "How long an update may take. Default: `2h`.",
				DeleteDescription: "How long removing may take. Default: `10m`.",
			}),

			// Computed.
			"id": schema.StringAttribute{MarkdownDescription: "Machine and directory.", Computed: true},
			"status": schema.StringAttribute{
				MarkdownDescription: "`in place`, and nothing else after an apply. A refresh may find `changed: ` and which files are missing, altered or of another mode there.", Computed: true,
			},
			"uploaded":    schema.MapAttribute{MarkdownDescription: "SHA-256 of each file, by its name.", Computed: true, ElementType: types.StringType},
			"stale":       schema.SetAttribute{MarkdownDescription: "Files that were uploaded earlier, are no longer here, and still there.", Computed: true, ElementType: types.StringType},
			"total_bytes": schema.Int64Attribute{MarkdownDescription: "Size of all files in bytes.", Computed: true},
			"upload_id":   schema.StringAttribute{MarkdownDescription: "Random name of this upload in the list there.", Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
		},
	}
}

var (
	fileModeText = stringvalidator.RegexMatches(regexp.MustCompile(`^0[0-7]{3}$`), `must be permission bits in octal, such as "0644"`)
	artifactName = checked{"the name of a file, relative to the directory", deploy.CheckArtifactName}
	// hostDirectory is a directory of a machine that need not be like this one.
	hostDirectory = checked{"an absolute path below / in its shortest form", func(s string) error {
		return deploy.ArtifactUpload{Directory: s}.Check()
	}}
)

// parseMode reads permission bits that the validator has let pass.
func parseMode(s types.String) fs.FileMode {
	n, err := strconv.ParseUint(s.ValueString(), 8, 32)
	if err != nil {
		return 0
	}
	return fs.FileMode(n)
}

func modeText(m fs.FileMode) types.String { return types.StringValue(fmt.Sprintf("%04o", m.Perm())) }
