package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// pccsOptions are the flags of "ccsim pccs".
type pccsOptions struct {
	platform          platformFlag
	listen, readyFile string
	certificate, key  string
}

func newPCCSCommand(s *streams) *cobra.Command {
	var o pccsOptions
	cmd := &cobra.Command{
		Use:   "pccs --platform DIR [--listen ADDR]",
		Short: "Serve a simulated platform's collateral as Intel's PCCS does (API v4 and v3)",
		Long: `pccs makes the platform where there is none, and serves its TCB info, QE identity and revocation lists,
issued for the moment of each request. The first line on stdout is the URL to configure a client with;
requests are logged on stderr. It ends on SIGINT or SIGTERM.

Without a TLS certificate it listens on loopback addresses only.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	o.platform.add(cmd)
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on; port 0 picks a free one")
	cmd.Flags().StringVar(&o.readyFile, "ready-file", "", "file to write the URL to when the service is up; removed at the end")
	cmd.Flags().StringVar(&o.certificate, "tls-certificate", "", "PEM file with the server's certificate chain, for https")
	cmd.Flags().StringVar(&o.key, "tls-private-key", "", "PEM file with the certificate's key")
	return cmd
}

func (o *pccsOptions) run(ctx context.Context, s *streams) error {
	if err := o.platform.check(); err != nil {
		return err
	}
	if (o.certificate == "") != (o.key == "") {
		return usagef("--tls-certificate and --tls-private-key go together")
	}
	platform, err := sgxsim.OpenOrCreate(o.platform.dir, sgxsim.Options{})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("serve PCCS: %w", err)
	}
	defer func() { _ = listener.Close() }() // Serve has closed it, unless it was never reached
	scheme := "https"
	if o.certificate == "" {
		scheme = "http"
		if addr, ok := listener.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
			return usagef("serve PCCS: %s is no loopback address: give --tls-certificate and --tls-private-key, or listen on 127.0.0.1", listener.Addr())
		}
	}
	url := sgxsim.BaseURL(scheme, listener.Addr().String())
	if err := o.announce(s, url); err != nil {
		return err
	}
	if o.readyFile != "" {
		defer func() { _ = os.Remove(o.readyFile) }()
	}
	return o.serve(ctx, listener, logged(platform.Handler(), s.err))
}

// announce tells that the socket is open: a connection made from now on is answered.
func (o *pccsOptions) announce(s *streams, url string) error {
	if o.readyFile != "" {
		if err := atomicfile.WriteFile(o.readyFile, []byte(url+"\n"), 0o644); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(s.out, url)
	return err
}

func (o *pccsOptions) serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() {
		if o.certificate != "" {
			done <- server.ServeTLS(listener, o.certificate, o.key)
		} else {
			done <- server.Serve(listener)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("serve PCCS: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("stop PCCS: %w", err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve PCCS: %w", err)
	}
	return nil // being stopped is how it ends
}

// logged writes one line a request.
func logged(next http.Handler, w io.Writer) http.Handler {
	log := slog.New(slog.NewTextHandler(w, nil))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(status, r)
		log.Info("pccs request", "method", r.Method, "url", r.URL.String(), "status", status.status, "from", r.RemoteAddr)
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
