package console

import (
	"log/slog"
	"net"
	"net/http"
)

// ServeHealth answers health checks on l, and nothing else, until the returned function is called. Anybody may ask: an
// answer is a status and as good as empty. Why a server is not ready is told by its log, and to those whom the administrative
// listener lets in.
func ServeHealth(l net.Listener, ready func() error, log *slog.Logger) (stop func()) {
	log.Info("listening for health checks", "address", l.Addr().String())
	return serve(l, healthHandler(ready), nil, log)
}

func healthHandler(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready() != nil {
			answer(w, http.StatusServiceUnavailable, "not ready")
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	return harden(mux)
}
