package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// ecsOptions are the flags of "ccsim ecs".
type ecsOptions struct {
	state, listen, readyFile, envFile, region string
	starting                                  time.Duration
}

func newECSCommand(s *streams) *cobra.Command {
	var o ecsOptions
	cmd := &cobra.Command{
		Use:   "ecs --state DIR [--listen ADDR] [--env-file FILE]",
		Short: "Serve Alibaba Cloud's ECS, VPC, STS and KMS, with signatures checked",
		Long: `ecs keeps a simulated account in DIR and makes it where there is none, with a VPC, a vSwitch and the
key alias/cc-demo in it. It speaks with and without TLS on one port, on loopback addresses only; DIR/root.pem is the certificate for TLS.
The first line on stdout is the URL for the provider's endpoints; requests are logged on stderr. It ends on
SIGINT or SIGTERM, and goes on where it was when it is started again.

Machines are folders, DIR/machines/ID, with stand-ins for the programs of Alibaba Cloud Linux 3. Commands of
Cloud Assistant run there with the rights of ccsim: the folder is a place, not a jail.

--env-file writes what a shell has to export, so that the provider finds the simulator: region, key, endpoints,
and the ids of VPC and vSwitch as TF_VAR_vpc_id and TF_VAR_vswitch_id.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	cmd.Flags().StringVar(&o.state, "state", "", "directory of the simulated account (required)")
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback address to listen on; port 0 picks a free one")
	cmd.Flags().StringVar(&o.readyFile, "ready-file", "", "file to write the URL to when the service is up; removed at the end")
	cmd.Flags().StringVar(&o.envFile, "env-file", "", "file to write exports for a shell to; removed at the end")
	cmd.Flags().StringVar(&o.region, "region", "cn-beijing", "region of the VPC and the vSwitch")
	cmd.Flags().DurationVar(&o.starting, "starting", 2*time.Second, "how long a machine takes to start; the rest goes by that")
	return cmd
}

func (o *ecsOptions) run(ctx context.Context, s *streams) error {
	if o.state == "" {
		return usagef("--state is missing: name the directory of the simulated account")
	}
	if o.starting < 0 {
		return usagef("--starting is negative")
	}
	log := slog.New(slog.NewTextHandler(s.err, nil))
	sim, err := ecssim.New(ecssim.Options{
		Dir:    o.state,
		Runner: ecssim.DirectoryRunner{Dir: filepath.Join(o.state, "machines"), Prepare: ecssim.AlibabaLinux3},
		Latencies: ecssim.Latencies{
			Starting: o.starting, Stopping: o.starting / 2, Deleting: o.starting / 2, PublicIP: o.starting / 4, Agent: o.starting / 4, Consistency: o.starting / 8,
		},
		OnRequest: func(r ecssim.Request) {
			log.Info("ecs request", "action", r.Action, "method", r.Method, "tls", r.TLS, "status", r.Status, "code", r.Code)
		},
	})
	if err != nil {
		return err
	}
	defer sim.Close()
	vpc, vswitch, err := network(sim, o.region)
	if err != nil {
		return err
	}
	if err := wrappingKey(sim, o.region); err != nil {
		return err
	}
	listener, err := ecssim.Listen(o.listen, sim)
	if err != nil {
		return err
	}
	defer listener.Close()
	url := "http://" + listener.Addr
	files := []struct{ path, text string }{
		{filepath.Join(o.state, "root.pem"), string(listener.RootPEM)},
		{o.envFile, environment(url, o.region, vpc, vswitch)},
		{o.readyFile, url + "\n"}, // the last: whoever waits for it finds the others
	}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if err := atomicfile.WriteFile(f.path, []byte(f.text), 0o600); err != nil {
			return err
		}
		if f.path != files[0].path {
			defer func() { _ = os.Remove(f.path) }()
		}
	}
	if _, err := fmt.Fprintln(s.out, url); err != nil {
		return err
	}
	<-ctx.Done() // being stopped is how it ends
	return nil
}

// network returns the VPC and the vSwitch of the account, which it makes at the
// first start.
func network(sim *ecssim.Server, region string) (vpc, vswitch string, err error) {
	// The tokens make a later start's calls the first one's.
	first := func(action, field string, arguments map[string]string) string {
		if err != nil {
			return ""
		}
		arguments["ClientToken"] = "ccsim-" + region
		var out map[string]any
		if out, err = sim.Do(region, action, arguments); err != nil {
			return ""
		}
		id, _ := out[field].(string)
		return id
	}
	zone := map[string]string{"cn-beijing": "cn-beijing-k", "cn-hangzhou": "cn-hangzhou-k", "cn-shanghai": "cn-shanghai-l"}[region]
	if zone == "" {
		return "", "", usagef("--region: %q has no network here; cn-beijing, cn-hangzhou and cn-shanghai have", region)
	}
	vpc = first("CreateVpc", "VpcId", map[string]string{"CidrBlock": "172.16.0.0/12", "VpcName": "cc-demo"})
	vswitch = first("CreateVSwitch", "VSwitchId", map[string]string{"VpcId": vpc, "CidrBlock": "172.16.0.0/24", "ZoneId": zone, "VSwitchName": "cc-demo"})
	return vpc, vswitch, err
}

// demoKey is the alias of the account's key in the Key Management Service.
const demoKey = "alias/cc-demo"

// wrappingKey makes the key at the first start.
func wrappingKey(sim *ecssim.Server, region string) error {
	if _, err := sim.Do(region, "DescribeKey", map[string]string{"KeyId": demoKey}); err == nil {
		return nil
	}
	out, err := sim.Do(region, "CreateKey", nil)
	if err != nil {
		return err
	}
	metadata, _ := out["KeyMetadata"].(map[string]any)
	id, _ := metadata["KeyId"].(string)
	_, err = sim.Do(region, "CreateAlias", map[string]string{"KeyId": id, "AliasName": demoKey})
	return err
}

func environment(url, region, vpc, vswitch string) string {
	return fmt.Sprintf(`export ALICLOUD_REGION=%s
export ALICLOUD_ACCESS_KEY=%s
export ALICLOUD_SECRET_KEY=%s
export ALIBABA_CLOUD_ENDPOINT_ECS=%s
export ALIBABA_CLOUD_ENDPOINT_VPC=%s
export ALIBABA_CLOUD_ENDPOINT_STS=%s
export ALIBABA_CLOUD_ENDPOINT_KMS=%s
export TF_VAR_vpc_id=%s
export TF_VAR_vswitch_id=%s
`, region, ecssim.DefaultAccessKey, ecssim.DefaultSecretKey, url, url, url, url, vpc, vswitch)
}
