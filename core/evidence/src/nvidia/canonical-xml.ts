import { FormatError } from '@cella/bytes'

const xmlnsNamespace = 'http://www.w3.org/2000/xmlns/'
const elementNode = 1
const textNode = 3

/** Prefix ('' for the default) to namespace. */
export type Namespaces = ReadonlyMap<string, string>

/**
 * Canonical XML 1.1 (and 1.0: they differ only in `xml:` attributes, which are refused) of `element` and what is in it,
 * without `omitted`. `outer` are the namespaces in scope above it that the output has to carry itself: none when it is the
 * document's own element. Documents here have neither comments nor processing instructions nor a DTD; whatever else the
 * standard speaks of is refused. Throws FormatError.
 */
export function canonicalXml(element: Element, outer: Namespaces, omitted?: Element): string {
  return writeElement(element, outer, new Map(), omitted)
}

/** The namespaces in scope at `element`, its own declarations included. */
export function namespacesAt(element: Element): Namespaces {
  const chain: Element[] = []
  for (let node: Node | null = element; node?.nodeType === elementNode; node = node.parentNode)
    chain.unshift(node as Element)
  return new Map(chain.flatMap(declarationsOf))
}

function declarationsOf(element: Element): [string, string][] {
  return attributesOf(element).flatMap((attribute): [string, string][] =>
    attribute.namespaceURI === xmlnsNamespace
      ? [[attribute.prefix === 'xmlns' ? attribute.localName! : '', attribute.value]]
      : [],
  )
}

function attributesOf(element: Element): Attr[] {
  return Array.from({ length: element.attributes.length }, (_, at) => element.attributes.item(at)!)
}

function writeElement(element: Element, outer: Namespaces, written: Namespaces, omitted: Element | undefined): string {
  const scope: Namespaces = new Map([...outer, ...declarationsOf(element)])
  // A declaration that the nearest element of the output has already made is superfluous. C14N 1.1 §2.3.
  const fresh = [...scope].filter(([prefix, uri]) => (written.get(prefix) ?? '') !== uri)
  const namespaces = fresh
    .sort(([a], [b]) => compare(a, b))
    .map(([prefix, uri]) => ` xmlns${prefix === '' ? '' : `:${prefix}`}="${attributeText(uri)}"`)
  const attributes = attributesOf(element)
    .filter(({ namespaceURI }) => namespaceURI !== xmlnsNamespace)
    .sort((a, b) => compare(a.namespaceURI ?? '', b.namespaceURI ?? '') || compare(nameOf(a), nameOf(b)))
    .map((attribute) => {
      if (attribute.prefix === 'xml') throw new FormatError('XML', 'has an xml: attribute, which is not read')
      return ` ${attribute.name}="${attributeText(attribute.value)}"`
    })
  let inner = ''
  for (let child = element.firstChild; child !== null; child = child.nextSibling) {
    if (child.nodeType === textNode) inner += text(child.nodeValue ?? '')
    else if (child.nodeType !== elementNode) throw new FormatError('XML', 'has more than elements and text')
    else if (child !== omitted)
      inner += writeElement(child as Element, new Map(), new Map([...written, ...scope]), omitted)
  }
  return `<${element.tagName}${namespaces.join('')}${attributes.join('')}>${inner}</${element.tagName}>`
}

function nameOf(attribute: Attr): string {
  return attribute.localName ?? attribute.name
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

// C14N 1.1 §2.3, "Attribute Nodes" and "Text Nodes".
function attributeText(value: string): string {
  return value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('"', '&quot;')
    .replaceAll('\t', '&#x9;')
    .replaceAll('\n', '&#xA;')
    .replaceAll('\r', '&#xD;')
}

function text(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('\r', '&#xD;')
}
