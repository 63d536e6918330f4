package main

import (
	"context"
	"fmt"
	"sort"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
)

// documents compares every OpenAPI document in protobuf with what gnostic itself makes of the same document in JSON.
func documents(ctx context.Context, client discovery.DiscoveryInterface) error {
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	names := make([]string, 0, len(paths))
	for name := range paths {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		text, err := paths[name].Schema(runtime.ContentTypeJSON)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		expected, err := openapi_v3.ParseDocument(text)
		if err != nil {
			return fmt.Errorf("%s: gnostic does not read it: %w", name, err)
		}
		bytes, err := paths[name].Schema(openapi.ContentTypeOpenAPIV3PB)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := compare(expected, bytes, &openapi_v3.Document{}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	text, err := client.RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", runtime.ContentTypeJSON).DoRaw(ctx)
	if err != nil {
		return err
	}
	expected, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return fmt.Errorf("v2: gnostic does not read it: %w", err)
	}
	const v2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	bytes, err := client.RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", v2).DoRaw(ctx)
	if err != nil {
		return err
	}
	if err := compare(expected, bytes, &openapi_v2.Document{}); err != nil {
		return fmt.Errorf("v2: %w", err)
	}
	return check(len(names) > 20, "%d documents", len(names))
}

func compare(expected proto.Message, bytes []byte, found proto.Message) error {
	if err := proto.Unmarshal(bytes, found); err != nil {
		return err
	}
	if err := normalize(expected.ProtoReflect()); err != nil {
		return err
	}
	if err := normalize(found.ProtoReflect()); err != nil {
		return err
	}
	return check(proto.Equal(expected, found), "its protobuf is not what gnostic makes of its JSON: %s", difference(expected.ProtoReflect(), found.ProtoReflect(), ""))
}

// normalize writes the values that stand there as text in one form: JSON is YAML, but not the YAML that gnostic writes.
func normalize(message protoreflect.Message) error {
	var failed error
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Name() == "yaml":
			var read any
			if failed = yaml.Unmarshal([]byte(value.String()), &read); failed != nil {
				return false
			}
			message.Set(field, protoreflect.ValueOfString(fmt.Sprintf("%v", read)))
		case field.IsList() && field.Message() != nil:
			for at := range value.List().Len() {
				if failed = normalize(value.List().Get(at).Message()); failed != nil {
					return false
				}
			}
		case field.Message() != nil:
			failed = normalize(value.Message())
		}
		return failed == nil
	})
	return failed
}

// difference names the first place where two messages are not the same.
func difference(expected, found protoreflect.Message, place string) string {
	for at := range expected.Descriptor().Fields().Len() {
		field := expected.Descriptor().Fields().Get(at)
		here := fmt.Sprintf("%s.%s", place, field.Name())
		a, b := expected.Get(field), found.Get(field)
		switch {
		case expected.Has(field) != found.Has(field):
			return fmt.Sprintf("%s is there in one of them: %v, %v", here, a, b)
		case field.IsList() && a.List().Len() != b.List().Len():
			return fmt.Sprintf("%s: %d and %d", here, a.List().Len(), b.List().Len())
		case field.IsList() && field.Message() != nil:
			for at := range a.List().Len() {
				one, other := a.List().Get(at).Message(), b.List().Get(at).Message()
				if !proto.Equal(one.Interface(), other.Interface()) {
					return difference(one, other, fmt.Sprintf("%s[%d]", here, at))
				}
			}
		case field.Message() != nil && !field.IsList():
			if expected.Has(field) && !proto.Equal(a.Message().Interface(), b.Message().Interface()) {
				return difference(a.Message(), b.Message(), here)
			}
		case !a.Equal(b):
			return fmt.Sprintf("%s: %v and %v", here, a, b)
		}
	}
	return place
}
