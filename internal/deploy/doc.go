// Package deploy holds the use-cases that `terraform apply` and ccctl share:
// what has to happen so that a wrap key, a model, a set of certificates or a
// key server is as wished. It knows no Terraform types and prints nothing.
//
// Every use-case has the same three parts. Plan decides from what is wished
// and what is there, without touching anything; do makes it so, in an order
// that leaves the old or the new after a crash, never half; observe reports
// what is there now, in terms that may be shown: paths, fingerprints and
// digests, never a secret.
//
// Errors that a person can do something about are of type [*Error], which
// carries the remedy beside the cause: Terraform shows it in a diagnostic and
// ccctl as a hint.
package deploy
