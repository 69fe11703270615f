package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A flag that is a setting can also be given as a variable of the environment
// and, where a command has the flag --config, as a key of a YAML file. The flag
// goes before the variable, the variable before the file, the file before the
// default.

// envPrefix starts the names of variables: --peer-listen is MERIDIAN_PEER_LISTEN.
const envPrefix = "MERIDIAN_"

// configFlag names the YAML file.
const configFlag = "config"

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 1 << 20

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settingMark marks the flags that are settings. Others say what to do this once.
const settingMark = "setting"

// markSettings makes settings of flags.
func markSettings(c *cobra.Command, names ...string) {
	for _, n := range names {
		if err := c.Flags().SetAnnotation(n, settingMark, []string{envName(n)}); err != nil {
			panic(err) // no such flag: a mistake in this package
		}
	}
}

// addConfigFlag adds --config to a command.
func addConfigFlag(c *cobra.Command) {
	c.Flags().String(configFlag, "", "a YAML `file` whose keys are the names of these flags")
	markSettings(c, configFlag)
}

// loadSettings completes the flags that are not on the command line.
func loadSettings(c *cobra.Command) error {
	flags := c.Flags()
	if err := fromEnv(c); err != nil {
		return err
	}
	if flags.Lookup(configFlag) == nil {
		return nil
	}
	path, err := flags.GetString(configFlag)
	if err != nil || path == "" {
		return err
	}
	return fromFile(c, path)
}

// isSetting reports whether a flag has a variable and a key.
func isSetting(f *pflag.Flag) bool { return f.Annotations[settingMark] != nil }

func fromEnv(c *cobra.Command) error {
	var errs []error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		text, ok := os.LookupEnv(envName(f.Name))
		if !ok || text == "" || f.Changed || !isSetting(f) {
			return
		}
		if err := c.Flags().Set(f.Name, text); err != nil {
			errs = append(errs, usagef(c, "%s=%q: %w", envName(f.Name), text, cause(err)))
		}
	})
	return errors.Join(errs...)
}

// cause leaves out what pflag says around the error of a value.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return invalid.Unwrap()
	}
	return err
}

// fromFile reads the keys of a YAML file into the flags that are still unset.
func fromFile(c *cobra.Command, path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef(c, "there is no configuration file %s", path)
	}
	if err == nil && info.Size() > maxConfigBytes {
		return usagef(c, "the configuration file %s has more than %d bytes", path, maxConfigBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	entries, err := parseConfig(b)
	if err != nil {
		return usagef(c, "configuration file %s: %w", path, err)
	}
	for _, e := range entries {
		f := c.Flags().Lookup(e.key)
		if f == nil || !isSetting(f) || e.key == configFlag {
			return usagef(c, "%s:%d: there is no setting %q%s", path, e.line, e.key, nearestSetting(c, e.key))
		}
		if f.Changed {
			continue
		}
		if err := c.Flags().Set(e.key, e.text); err != nil {
			return usagef(c, "%s:%d: %s: %w", path, e.line, e.key, cause(err))
		}
	}
	return nil
}

// A configEntry is a key of a file, with its value as a flag would have it.
type configEntry struct {
	key, text string
	line      int
}

// parseConfig reads a YAML mapping of scalars, lists of scalars, which become
// "a,b", and mappings of scalars, which become "k=v,k=v".
func parseConfig(b []byte) ([]configEntry, error) {
	var values map[string]any
	if err := yaml.Unmarshal(b, &values); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, true))
	}
	lines := configLines(b)
	entries := make([]configEntry, 0, len(values))
	for key, v := range values {
		text, err := configText(v)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", lines[key], key, err)
		}
		entries = append(entries, configEntry{key, text, lines[key]})
	}
	slices.SortFunc(entries, func(a, b configEntry) int { return a.line - b.line })
	return entries, nil
}

// configLines finds where the keys of a file are. The file was parsed before.
func configLines(b []byte) map[string]int {
	lines := map[string]int{}
	file, err := parser.ParseBytes(b, 0)
	if err != nil || len(file.Docs) == 0 {
		return lines
	}
	note := func(n *ast.MappingValueNode) { lines[n.Key.GetToken().Value] = n.Key.GetToken().Position.Line }
	switch body := file.Docs[0].Body.(type) {
	case *ast.MappingNode:
		for _, n := range body.Values {
			note(n)
		}
	case *ast.MappingValueNode:
		note(body)
	}
	return lines
}

var errShape = errors.New("expected a text, a number, true or false, a list of these, or names with values")

func configText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			text, err := configScalar(e)
			if err != nil {
				return "", err
			}
			parts[i] = text
		}
		return strings.Join(parts, ","), nil
	case map[string]any:
		parts := make([]string, 0, len(v))
		for name, e := range v {
			text, err := configScalar(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, name+"="+text)
		}
		slices.Sort(parts)
		return strings.Join(parts, ","), nil
	default:
		return configScalar(v)
	}
}

func configScalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	default:
		return "", errShape
	}
}

// nearestSetting suggests what an unknown key may have meant.
func nearestSetting(c *cobra.Command, key string) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if isSetting(f) && f.Name != configFlag {
			names = append(names, f.Name)
		}
	})
	plain := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(key))
	for _, n := range names {
		if n == plain || strings.ReplaceAll(n, "-", "") == strings.ReplaceAll(plain, "-", "") {
			return fmt.Sprintf("; did you mean %q?", n)
		}
	}
	return "; there are " + strings.Join(names, ", ")
}
