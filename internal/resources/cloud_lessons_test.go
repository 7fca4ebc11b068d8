package resources_test

import (
	"encoding/base64"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// TestUserDataIsNotGuessed: a word such as "test" is also base64 of something,
// and Alibaba's provider sends it as that.
func TestUserDataIsNotGuessed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ attribute, value, want string }{
		"a word":       {"user_data", "test", "test"},
		"a script":     {"user_data", "#!/bin/sh\necho\n", "#!/bin/sh\necho\n"},
		"base64":       {"user_data_base64", "dGVzdA==", "test"},
		"base64 twice": {"user_data", "dGVzdA==", "dGVzdA=="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, ecssim.Options{})
			group := c.do("CreateSecurityGroup", "SecurityGroupId", map[string]string{"VpcId": c.vpc})
			const kind = "cc_client_instance"
			p := c.newProcess()
			o := p.apply(kind, p.null(kind), p.object(p.schemas.ResourceSchemas[kind].ValueType(), map[string]tftypes.Value{
				"vswitch_id": text(c.vswitch), "security_group_ids": tftypes.NewValue(tftypes.Set{ElementType: tftypes.String}, []tftypes.Value{text(group)}),
				tt.attribute: text(tt.value), "bootstrap": tftypes.NewValue(tftypes.Bool, false),
			}))
			if o.errors != "" {
				t.Fatal(o.errors)
			}
			got, err := base64.StdEncoding.DecodeString(c.do("DescribeUserData", "UserData", map[string]string{"InstanceId": o.id()}))
			if err != nil || string(got) != tt.want {
				t.Errorf("the machine has %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}
