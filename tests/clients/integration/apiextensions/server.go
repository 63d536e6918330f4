// Package testing starts servers of custom resources for tests: clusters of a region of Minato, which serve everything else too.
package testing

import (
	"net/http"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/rest"
)

type TearDownFunc func()

type TestServerInstanceOptions struct{}

type TestServer struct {
	ClientConfig    *rest.Config
	ServerOpts      *options.CustomResourceDefinitionsServerOptions
	TearDownFn      TearDownFunc
	TmpDir          string
	CompletedConfig apiserver.CompletedConfig
}

type Logger interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

func NewDefaultTestServerOptions() *TestServerInstanceOptions { return &TestServerInstanceOptions{} }

func StartTestServer(t Logger, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) (TestServer, error) {
	t.Logf("flags that the cluster does not take: %v", flags)
	name, config, err := freshCluster()
	if err != nil {
		return TestServer{}, err
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return namespaceMaker{next} })
	options := options.NewCustomResourceDefinitionsServerOptions(os.Stdout, os.Stderr)
	return TestServer{ClientConfig: config, ServerOpts: options, TearDownFn: func() { deleteCluster(name) }}, nil
}

func StartTestServerOrDie(t Logger, instance *TestServerInstanceOptions, flags []string, storage *storagebackend.Config) *TestServer {
	server, err := StartTestServer(t, instance, flags, storage)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &server
}
