package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// cloudPatience bounds what each question to the cloud may take, retries included.
const cloudPatience = 20 * time.Second

// CloudOptions say which account of Alibaba Cloud is looked at.
type CloudOptions struct {
	// Setting returns a setting of the provider by its name, such as "region"; see [ecs.ConfigOf]. Required.
	Setting func(name string) string
	// Wanted tells that somebody asked for the cloud: that nothing is set is a failure then.
	Wanted bool
	// Pace is that of retries; the zero value is the usual one.
	Pace ecs.Backoff
}

// Environment returns a setting of the provider as the environment has it.
func Environment(setting string) string { return ecs.FromEnvironment(setting) }

// credentialSettings are those of which one has to be set.
var credentialSettings = []string{"access_key", "secret_key", "security_token", "profile", "ecs_role_name", "assume_role_with_oidc.oidc_provider_arn"}

// Cloud returns the checks of the account that the provider would use: where its credentials come from, whether they are
// accepted, and whether ECS answers to them. No secret is in what they find.
func Cloud(opts CloudOptions) []Check {
	v := &cloudVisit{CloudOptions: opts}
	return []Check{
		{"cloud credentials", v.credentials},
		{"cloud account", v.account},
		{"cloud ECS", v.ecs},
	}
}

type cloudVisit struct {
	CloudOptions

	client   *ecs.Client
	accepted bool
}

func (v *cloudVisit) credentials(context.Context) []Finding {
	set := v.Setting("region") != ""
	for _, s := range credentialSettings {
		set = set || v.Setting(s) != ""
	}
	if !set && !v.Wanted {
		return []Finding{skip("none are set in the environment; only resources in the cloud need any")}
	}
	conf, err := ecs.ConfigOf(v.Setting)
	if err == nil {
		conf.Backoff = v.Pace
		conf.UserAgent = "ccctl-doctor"
		v.client, err = ecs.New(conf)
	}
	if err != nil {
		return []Finding{fail(settingsRemedy, "%v", err)}
	}
	found := ok("%s, for region %s", v.client.CredentialSource(), v.client.Region())
	for _, s := range credentialSettings[:3] {
		if names := ecs.Variables(s); v.Setting(s) != "" {
			found.Details = append(found.Details, fmt.Sprintf("%s is set by one of %s", s, strings.Join(names, ", ")))
		}
	}
	if v.Setting("access_key") != "" && v.Setting("profile") != "" {
		return []Finding{found, warn("unset the one that is not meant", "the profile %q is not looked at: an access key counts before it", v.Setting("profile"))}
	}
	return []Finding{found}
}

const settingsRemedy = "set ALICLOUD_REGION with ALICLOUD_ACCESS_KEY and ALICLOUD_SECRET_KEY, or ALICLOUD_PROFILE, or ALICLOUD_ECS_ROLE_NAME on an instance"

// account asks STS who this is.
func (v *cloudVisit) account(ctx context.Context) []Finding {
	if v.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cloudPatience)
	defer cancel()
	start := time.Now()
	id, err := v.client.AccountID(ctx)
	if err != nil {
		return []Finding{v.failed(err, "look at the credentials' source, and at the account they should be of")}
	}
	v.accepted = true
	return []Finding{ok("%s, answered in %s", id, period(time.Since(start)))}
}

// ecs asks for the region's zones, which every plan with a machine does.
func (v *cloudVisit) ecs(ctx context.Context) []Finding {
	switch {
	case v.client == nil:
		return nil
	case !v.accepted:
		return []Finding{skip("the account could not be asked")}
	}
	defer v.client.Close()
	ctx, cancel := context.WithTimeout(ctx, cloudPatience)
	defer cancel()
	zones, err := v.client.Zones(ctx)
	switch {
	case err != nil:
		return []Finding{v.failed(err, "grant the identity AliyunECSReadOnlyAccess at least; to create machines it needs ecs:RunInstances and its like")}
	case len(zones) == 0:
		return []Finding{fail("choose another region", "region %s has no zones", v.client.Region())}
	}
	return []Finding{ok("region %s has %d zones", v.client.Region(), len(zones))}
}

// failed makes a finding of what the cloud has answered, or not.
func (v *cloudVisit) failed(err error, remedy string) Finding {
	f := fail(remedy, "%v", err)
	if r := ecs.RemedyOf(err); r != "" {
		f.Remedy = r
	}
	if class := ecs.ClassOf(err); class == ecs.ClassTransient || class == ecs.ClassThrottled || errors.Is(err, context.DeadlineExceeded) {
		f.Err = fmt.Errorf("%w: %w", ErrUnreachable, err)
		if ecs.RemedyOf(err) == "" {
			f.Remedy = "check the name resolution, the proxy (HTTPS_PROXY) and that the firewall lets this machine out to *.aliyuncs.com, port 443"
		}
	}
	return f
}
