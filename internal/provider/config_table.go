package provider

import (
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/provider/schema"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// setting is a row of the table of cloud settings: an argument of the
// provider's block. Package ecs knows the environment variables that stand in
// for it where it is not set.
type setting struct {
	block       string // empty for the top level
	name        string
	sensitive   bool
	number      bool
	description string
}

// settings drives the schema, its documentation and Configure.
var settings = []setting{
	{name: "region",
		description: "Region of the cloud resources, such as `cn-beijing`. There is no default: a wrong one would look like an empty account."},
	{name: "access_key",
		description: "Id of the access key."},
	{name: "secret_key", sensitive: true,
		description: "Secret of the access key. Better kept in the environment or in a profile."},
	{name: "security_token", sensitive: true,
		description: "Token of a temporary access key (STS)."},
	{name: "profile",
		description: "Profile in `shared_credentials_file` to take the credentials from; counts only where no access key is set."},
	{name: "shared_credentials_file",
		description: "File with the profile, in the JSON of the `aliyun` command or the ini of the SDKs. Default: `~/.aliyun/config.json`, then `~/.alibabacloud/credentials`."},
	{name: "ecs_role_name",
		description: "RAM role of the ECS instance that Terraform runs on. The metadata service is asked only if this is set."},

	{block: "assume_role", name: "role_arn",
		description: "ARN of a RAM role to take on, `acs:ram::ACCOUNT:role/NAME`."},
	{block: "assume_role", name: "session_name",
		description: "Name of the session in audit logs. Default: `cc`."},
	{block: "assume_role", name: "session_expiration", number: true,
		description: "Seconds that a session lasts, 900 at least. Default: 3600. A session is renewed while Terraform runs."},
	{block: "assume_role", name: "external_id",
		description: "External id that the role's trust policy asks for."},
	{block: "assume_role", name: "policy",
		description: "Policy that narrows what the session may do."},

	{block: "assume_role_with_oidc", name: "oidc_provider_arn",
		description: "ARN of the identity provider."},
	{block: "assume_role_with_oidc", name: "oidc_token_file",
		description: "File with the identity provider's token."},
	{block: "assume_role_with_oidc", name: "role_arn",
		description: "ARN of the role to take on with the token."},
	{block: "assume_role_with_oidc", name: "role_session_name",
		description: "Name of the session in audit logs. Default: `cc`."},

	{block: "endpoints", name: "ecs",
		description: "Address of ECS."},
	{block: "endpoints", name: "vpc",
		description: "Address of VPC."},
	{block: "endpoints", name: "sts",
		description: "Address of STS."},
	{block: "endpoints", name: "kms",
		description: "Address of the Key Management Service, such as `kms-vpc.cn-beijing.aliyuncs.com` in a VPC."},
}

// blocks describes the blocks of the table.
var blocks = []struct{ name, description string }{
	{"assume_role", "A RAM role to take on with the credentials."},
	{"assume_role_with_oidc", "A RAM role to take on with the token of an identity provider, as in a pod of ACK (RRSA). It counts where no access key is set."},
	{"endpoints", "Other addresses of the services: `HOST` or `HOST:PORT`, always over TLS. `http://HOST:PORT` is accepted for a loopback address, for tests."},
}

// key is the name under which a setting's value is handed around.
func (s setting) key() string {
	if s.block == "" {
		return s.name
	}
	return s.block + "." + s.name
}

// env are the environment variables that stand in for it.
func (s setting) env() []string { return ecs.Variables(s.key()) }

func (s setting) markdown() string {
	if len(s.env()) == 0 {
		return s.description
	}
	return s.description + " Environment: `" + strings.Join(s.env(), "`, `") + "`."
}

func (s setting) attribute() schema.Attribute {
	if s.number {
		return schema.Int64Attribute{MarkdownDescription: s.markdown(), Optional: true}
	}
	return schema.StringAttribute{MarkdownDescription: s.markdown(), Optional: true, Sensitive: s.sensitive}
}

// attributesOf returns the attributes of a block, or of the top level.
func attributesOf(block string) map[string]schema.Attribute {
	all := map[string]schema.Attribute{}
	for _, s := range settings {
		if s.block == block {
			all[s.name] = s.attribute()
		}
	}
	return all
}

func cloudBlocks() map[string]schema.Block {
	all := map[string]schema.Block{}
	for _, b := range blocks {
		all[b.name] = schema.SingleNestedBlock{MarkdownDescription: b.description, Attributes: attributesOf(b.name)}
	}
	return all
}
