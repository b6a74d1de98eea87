// Package config holds every setting of freshet in one tree, and reads it from four places. A later place wins:
//
//	the defaults (Default)
//	a YAML file              window: {gap: 20m}
//	the environment          FRESHET_WINDOW_GAP=20m
//	flags that were given    --clicks 20000
//
// The environment's name of a key is FRESHET_ and the key in capitals, dots as underscores. There is one name for a key and
// one key for a name (a test compares them all), so no separator is needed. An empty variable counts as not given.
//
// # Promise
//
// A key that is not known, a value of the wrong type and a value out of range are faults, wherever they come from. All of
// them are reported at once, each with its key, the place it came from and what to do. Nothing is started, made or changed
// before the configuration is free of faults.
//
// # Caveats
//
// Kubernetes and Docker links put variables into a container for every service, such as FRESHET_PORT or
// FRESHET_SERVICE_HOST for a service called freshet. Those forms are passed over.
//
// What this package does not do: hold the meaning of a setting. Each part has its own plain Config; the tree here mirrors
// them under the names that an operator sees, and cmd/freshet joins the two. The model's Config is part of the tree itself,
// with its own keys, sentences and bounds; a field that another setting sets (train.seed, train.history_parts) is no key.
package config
