// Package doccheck holds the documentation against the product. It has tests only, and they look at every Markdown file of
// the repository.
//
//   - Links: every relative link and anchor leads somewhere; a web address is only looked at for its form.
//   - HCL: every block marked hcl or terraform passes terraform validate with the provider as it is built here. Each is a
//     module of one configuration, so that one run of Terraform does. A block that is no whole configuration is completed:
//     the line <!-- with NAME --> before it puts testdata/hcl/NAME.tf beside it.
//   - Configurations of the key server: every block marked yaml is read as the server reads it. One without "listen" is
//     completed with testdata/server.yaml's.
//   - Commands: every command line in a block marked sh or console occurs in the document's session, word for word and in
//     the same order. The session of a document NAME.md is testdata/session/NAME.txtar, a script in the language of
//     testscript that runs the real programs. Where a document names what a test cannot have, such as a collateral service
//     on the internet, the session begins with "# instead of A: B". What cannot be run at all is in the table notRun, with
//     the reason.
//   - Messages: the summary of every diagnostic that the provider can give, every reason for which the key server refuses,
//     and what the command line and the server say of files, are in the guide "Troubleshooting by message", each with cause
//     and remedy; and nothing is there that no code says any more.
package doccheck
