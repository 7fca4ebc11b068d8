package provider

// CloudEnvironment lists the environment variables that the settings look at.
func CloudEnvironment() []string {
	var all []string
	for _, s := range settings {
		all = append(all, s.env()...)
	}
	return all
}
