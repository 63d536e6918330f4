// Package integration stands in for the servers that Kubernetes' integration tests start in their own process: `cargo xtask
// integration` puts these files into a copy of the published modules, each into the package that it names.
package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

var clusters atomic.Int64

func minato(arguments ...string) ([]byte, error) {
	out, err := exec.Command(os.Getenv("MINATO_BINARY"), arguments...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("minato %s: %w: %s", strings.Join(arguments, " "), err, exit.Stderr)
	}
	return out, err
}

// freshCluster makes a cluster without nodes. Its administrator's configuration has no limit of requests, as a test server's has none.
func freshCluster() (string, *rest.Config, error) {
	name := fmt.Sprintf("t%d-%d", os.Getpid(), clusters.Add(1))
	if _, err := minato("cluster", "create", name, "--nodes", "0", "--kubernetes-version", os.Getenv("MINATO_MINOR")); err != nil {
		return "", nil, err
	}
	file, err := minato("kubeconfig", name, "--print")
	if err != nil {
		return "", nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(file)
	if err != nil {
		return "", nil, err
	}
	// Tests set credentials of their own on copies, which a plugin would win over.
	out, err := minato("token", "--cluster", name)
	if err != nil {
		return "", nil, err
	}
	var credential struct{ Status struct{ Token string } }
	if err := json.Unmarshal(out, &credential); err != nil {
		return "", nil, err
	}
	config.ExecProvider = nil
	config.BearerToken = credential.Status.Token
	config.QPS, config.Burst = -1, -1
	return name, config, nil
}

func deleteCluster(name string) {
	if _, err := minato("cluster", "delete", name); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

var namespaced = regexp.MustCompile(`^/apis?/.*namespaces/([^/]+)/`)

// namespaceMaker makes namespaces that are missing. The server of custom resources alone knows none, and its tests make none.
type namespaceMaker struct{ next http.RoundTripper }

func (maker namespaceMaker) RoundTrip(request *http.Request) (*http.Response, error) {
	match := namespaced.FindStringSubmatch(request.URL.Path)
	if match != nil && request.Method != http.MethodGet && request.Method != http.MethodDelete {
		if err := maker.make(request, match[1]); err != nil {
			return nil, err
		}
	}
	return maker.next.RoundTrip(request)
}

func (maker namespaceMaker) make(request *http.Request, name string) error {
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)
	url := fmt.Sprintf("%s://%s/api/v1/namespaces", request.URL.Scheme, request.URL.Host)
	create, err := http.NewRequestWithContext(request.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	create.Header.Set("Content-Type", "application/json")
	create.Header.Set("Authorization", request.Header.Get("Authorization"))
	response, err := maker.next.RoundTrip(create)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
