package main

import (
	"net/http/httptest"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// cmdSimulateCloud is the script command "simulate-cloud": it serves a simulated account of Alibaba Cloud, to which the
// environment leads from then on, with the key alias/models in its KMS.
func cmdSimulateCloud(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: simulate-cloud")
	}
	sim, err := ecssim.New(ecssim.Options{})
	ts.Check(err)
	web := httptest.NewServer(sim)
	ts.Defer(func() { web.Close(); sim.Close() })
	out, err := sim.Do("cn-beijing", "CreateKey", nil)
	ts.Check(err)
	metadata, _ := out["KeyMetadata"].(map[string]any)
	id, _ := metadata["KeyId"].(string)
	_, err = sim.Do("cn-beijing", "CreateAlias", map[string]string{"KeyId": id, "AliasName": "alias/models"})
	ts.Check(err)
	for name, value := range map[string]string{
		"ALICLOUD_REGION": "cn-beijing", "ALICLOUD_ACCESS_KEY": ecssim.DefaultAccessKey, "ALICLOUD_SECRET_KEY": ecssim.DefaultSecretKey,
		"ALIBABA_CLOUD_ENDPOINT_KMS": web.URL, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
	} {
		ts.Setenv(name, value)
	}
}
