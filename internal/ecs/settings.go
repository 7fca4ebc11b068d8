package ecs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// variables are the environment variables that stand in for a setting where it
// is not set, the first one first. Names and order are those of Alibaba's own
// provider (terraform-provider-alicloud), so that one environment serves both.
var variables = map[string][]string{
	"region":                  {"ALICLOUD_REGION", "ALIBABA_CLOUD_REGION"},
	"access_key":              {"ALICLOUD_ACCESS_KEY", "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABACLOUD_ACCESS_KEY_ID"},
	"secret_key":              {"ALICLOUD_SECRET_KEY", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABACLOUD_ACCESS_KEY_SECRET"},
	"security_token":          {"ALICLOUD_SECURITY_TOKEN", "ALIBABA_CLOUD_SECURITY_TOKEN", "ALIBABACLOUD_SECURITY_TOKEN"},
	"profile":                 {"ALICLOUD_PROFILE", "ALIBABA_CLOUD_PROFILE"},
	"shared_credentials_file": {"ALICLOUD_SHARED_CREDENTIALS_FILE", "ALIBABA_CLOUD_CREDENTIALS_FILE"},
	"ecs_role_name":           {"ALICLOUD_ECS_ROLE_NAME", "ALIBABA_CLOUD_ECS_METADATA"},

	"assume_role.role_arn":           {"ALICLOUD_ASSUME_ROLE_ARN", "ALIBABA_CLOUD_ROLE_ARN"},
	"assume_role.session_name":       {"ALICLOUD_ASSUME_ROLE_SESSION_NAME", "ALIBABA_CLOUD_ROLE_SESSION_NAME"},
	"assume_role.session_expiration": {"ALICLOUD_ASSUME_ROLE_SESSION_EXPIRATION"},
	"assume_role.external_id":        {"ALIBABA_CLOUD_EXTERNAL_ID"},

	"assume_role_with_oidc.oidc_provider_arn": {"ALIBABA_CLOUD_OIDC_PROVIDER_ARN"},
	"assume_role_with_oidc.oidc_token_file":   {"ALIBABA_CLOUD_OIDC_TOKEN_FILE"},
	"assume_role_with_oidc.role_arn":          {"ALIBABA_CLOUD_ROLE_ARN"},
	"assume_role_with_oidc.role_session_name": {"ALIBABA_CLOUD_ROLE_SESSION_NAME"},

	"endpoints.ecs": {"ALIBABA_CLOUD_ENDPOINT_ECS", "ECS_ENDPOINT"},
	"endpoints.vpc": {"ALIBABA_CLOUD_ENDPOINT_VPC", "VPC_ENDPOINT"},
	"endpoints.sts": {"ALIBABA_CLOUD_ENDPOINT_STS", "STS_ENDPOINT"},
	"endpoints.kms": {"ALIBABA_CLOUD_ENDPOINT_KMS", "KMS_ENDPOINT"},
}

// Variables lists the environment variables that stand in for a setting of
// [ConfigOf], the first one first; none for "assume_role.policy".
func Variables(setting string) []string { return variables[setting] }

// FromEnvironment returns a setting as the environment has it, or nothing.
func FromEnvironment(setting string) string {
	for _, name := range variables[setting] {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// ConfigOf makes a configuration of settings by their names, which are those of
// the provider's arguments: "region", "access_key", "assume_role.role_arn". The
// function returns nothing for what is not set; [FromEnvironment] is one.
func ConfigOf(setting func(name string) string) (Config, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // then a profile without a file is an error of its own
	}
	conf := Config{
		Region: setting("region"),
		Credentials: Credentials{
			AccessKey: setting("access_key"), SecretKey: setting("secret_key"), SecurityToken: setting("security_token"),
			Profile: setting("profile"), ProfileFile: setting("shared_credentials_file"), HomeDir: home, ECSRoleName: setting("ecs_role_name"),
			DisableMetadata: strings.EqualFold(os.Getenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED"), "true"),
		},
		Endpoints: Endpoints{ECS: setting("endpoints.ecs"), VPC: setting("endpoints.vpc"), STS: setting("endpoints.sts"), KMS: setting("endpoints.kms")},
	}
	if conf.Region == "" {
		return conf, fmt.Errorf("configure Alibaba Cloud: region is not set, neither in the configuration nor in %s", strings.Join(variables["region"], " or "))
	}
	arn := setting("assume_role.role_arn")
	if setting("assume_role_with_oidc.oidc_provider_arn") != "" || setting("assume_role_with_oidc.oidc_token_file") != "" {
		conf.Credentials.OIDC = &OIDC{
			ProviderARN: setting("assume_role_with_oidc.oidc_provider_arn"), TokenFile: setting("assume_role_with_oidc.oidc_token_file"),
			RoleARN: setting("assume_role_with_oidc.role_arn"), SessionName: setting("assume_role_with_oidc.role_session_name"),
		}
		// One variable names the role of both ways; it is taken on once.
		if arn == conf.Credentials.OIDC.RoleARN && conf.Credentials.AccessKey == "" {
			return conf, nil
		}
	}
	if arn == "" {
		return conf, nil
	}
	seconds := 0
	if s := setting("assume_role.session_expiration"); s != "" {
		if seconds, err = strconv.Atoi(s); err != nil || seconds < 0 {
			return conf, fmt.Errorf("configure Alibaba Cloud: assume_role.session_expiration %q is not a number of seconds", s)
		}
	}
	conf.Credentials.AssumeRole = &AssumeRole{
		RoleARN: arn, SessionName: setting("assume_role.session_name"), Duration: time.Duration(seconds) * time.Second,
		ExternalID: setting("assume_role.external_id"), Policy: setting("assume_role.policy"),
	}
	return conf, nil
}
