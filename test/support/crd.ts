/** The part of OpenAPI that Kubernetes' CustomResourceDefinitions use. */
interface Schema {
	readonly type?: string;
	readonly properties?: Readonly<Record<string, Schema>>;
	readonly additionalProperties?: Schema | boolean;
	readonly items?: Schema;
	readonly required?: readonly string[];
	readonly enum?: readonly unknown[];
	readonly pattern?: string;
	readonly minimum?: number;
	readonly anyOf?: readonly Schema[];
	readonly "x-kubernetes-int-or-string"?: boolean;
	readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
}

export interface CustomResourceDefinition {
	readonly spec: {
		readonly group: string;
		readonly names: { readonly kind: string };
		readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }[];
	};
}

/** What an API server that validates strictly would refuse: unknown fields, wrong types, missing fields. */
export function faultsOf(resource: unknown, { spec }: CustomResourceDefinition): string[] {
	const { apiVersion, kind, ...rest } = resource as Record<string, unknown>;
	const version = spec.versions.find(({ name }) => apiVersion === `${spec.group}/${name}`);
	if (version === undefined) return [`apiVersion: ${JSON.stringify(apiVersion)} is not defined`];
	if (kind !== spec.names.kind) return [`kind: expected ${spec.names.kind}, found ${JSON.stringify(kind)}`];
	// Metadata is Kubernetes' own, and not in the definition.
	const {
		apiVersion: _version,
		kind: _kind,
		metadata: _metadata,
		...properties
	} = version.schema.openAPIV3Schema.properties ?? {};
	const { metadata, ...fields } = rest;
	const named = typeof (metadata as { name?: unknown } | undefined)?.name === "string";
	const schema = { ...version.schema.openAPIV3Schema, properties };
	return [...(named ? [] : ["metadata.name: missing"]), ...check(fields, schema, "")];
}

function check(value: unknown, schema: Schema, path: string): string[] {
	const fault = (message: string): string[] => [`${path}: ${message}`];
	if (schema["x-kubernetes-int-or-string"] === true) {
		return Number.isInteger(value) || typeof value === "string" ? [] : fault("expected an integer or a string");
	}
	if (schema.enum !== undefined && !schema.enum.includes(value))
		return fault(`expected one of ${schema.enum.join(", ")}`);
	switch (schema.type) {
		case "object":
			return isObject(value) ? checkFields(value, schema, path) : fault("expected an object");
		case "array":
			if (!Array.isArray(value)) return fault("expected a list");
			return value.flatMap((item, index) => check(item, schema.items ?? {}, `${path}[${index}]`));
		case "string":
			if (typeof value !== "string") return fault("expected a string");
			return schema.pattern === undefined || new RegExp(schema.pattern).test(value)
				? []
				: fault(`expected ${schema.pattern}`);
		case "integer":
			if (!Number.isInteger(value)) return fault("expected an integer");
			return (value as number) >= (schema.minimum ?? Number.NEGATIVE_INFINITY)
				? []
				: fault(`expected ${schema.minimum} or more`);
		case "number":
			return typeof value === "number" ? [] : fault("expected a number");
		case "boolean":
			return typeof value === "boolean" ? [] : fault("expected true or false");
		case undefined:
			return [];
		default:
			throw new Error(`${path}: a schema of type ${schema.type} is not handled here`);
	}
}

function checkFields(value: Readonly<Record<string, unknown>>, schema: Schema, path: string): string[] {
	const at = (name: string): string => (path === "" ? name : `${path}.${name}`);
	const { properties = {}, additionalProperties = false } = schema;
	const missing = (schema.required ?? []).filter((name) => !Object.hasOwn(value, name));
	const faults = missing.map((name) => `${at(name)}: missing`);
	for (const [name, field] of Object.entries(value)) {
		if (Object.hasOwn(properties, name)) faults.push(...check(field, properties[name] ?? {}, at(name)));
		else if (typeof additionalProperties === "object") faults.push(...check(field, additionalProperties, at(name)));
		else if (!additionalProperties && schema["x-kubernetes-preserve-unknown-fields"] !== true)
			faults.push(`${at(name)}: unknown field`);
	}
	return faults;
}

function isObject(value: unknown): value is Record<string, unknown> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}
