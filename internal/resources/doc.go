// Package resources holds the resources, data sources, ephemeral resources and
// functions of the provider: one file each, named after the Terraform type and
// its kind, so that the folder is the table of contents. They translate
// between Terraform and package deploy (or a format package) and decide
// nothing that ccctl would have to decide again.
//
// # The shape of a file
//
// Every resource file has the same parts in the same order; wrap_key_resource.go
// is the one to read first:
//
//   - the interface assertions;
//   - the type, which holds the [Backend] if it needs one, and its constructor
//     New<Name>Resource, listed in package provider;
//   - the model, a struct of framework types with one field an attribute;
//   - Metadata, Configure, Schema;
//   - Create, Read, Update, Delete, ImportState, ModifyPlan, in the order of a
//     resource's life;
//   - helpers.
//
// The body of a CRUD method is about a dozen lines: read the plan or the
// state, call the use-case, add the error and return, set the state. Where a
// use-case waits, the id is stored before, so that an interruption leaves a
// resource that Terraform knows.
//
// # Rules
//
//   - After an error nothing else happens: addError is followed by return.
//   - An unknown value is not an unset one. Validators and ModifyPlan let it
//     pass and look again on apply.
//   - No secret enters a model, a diagnostic or a log line: paths, fingerprints
//     and digests do. A secret argument is write-only and read from the
//     configuration. Each resource has a test that hunts for its secrets in
//     state, plan and log; see canary_test.go.
//   - A model is never logged as a whole.
//   - Read notices that the artefact is missing, changed or unreadable and lets
//     the plan say which. It changes nothing.
//   - After import the plan is empty.
//   - Descriptions take value sets and defaults from what validates them.
package resources
