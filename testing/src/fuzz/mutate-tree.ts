import type { Random } from './random.ts'

/** A structure as a mutation sees it, whatever its encoding: what holds others, and what doesn't. */
export interface Tree {
  /** Parts of a node, or `undefined` of a leaf. May be changed. */
  children: Tree[] | undefined
}

/** Every node below and with `root`. */
function nodesOf<Node extends Tree>(root: Node): Node[] {
  const all: Node[] = [root]
  for (let at = 0; at < all.length; at++) for (const child of all[at]!.children ?? []) all.push(child as Node)
  return all
}

const nestings = [1, 2, 17, 40, 200]

/**
 * Changes one place of `root`: a part left out, doubled, moved, replaced by another one of the tree, nested into copies of
 * its parent, or (by `changeLeaf`) changed itself. Lengths and counts around it are right again when it is encoded.
 */
export function mutateTree<Node extends Tree>(
  root: Node,
  random: Random,
  { copy, changeNode }: { copy: (node: Node) => Node; changeNode: (node: Node) => void },
): void {
  const nodes = nodesOf(root)
  const parents = nodes.filter(({ children }) => children !== undefined && children.length > 0)
  const kind = random.below(8)
  if (kind < 3 || parents.length === 0) {
    changeNode(random.pick(nodes))
    return
  }
  const children = random.pick(parents).children as Node[]
  const at = random.below(children.length)
  switch (kind) {
    case 3:
      children.splice(at, 1)
      return
    case 4:
      children.splice(at, 0, ...Array.from({ length: random.oneIn(8) ? 70 : 1 }, () => copy(children[at]!)))
      return
    case 5: {
      const [moved] = children.splice(at, 1)
      children.splice(random.below(children.length + 1), 0, moved!)
      return
    }
    case 6:
      children[at] = copy(random.pick(nodes))
      return
    default: {
      // Deep nesting of what may hold others.
      const shell = random.pick(parents)
      let nested = children[at]!
      for (let depth = random.pick(nestings); depth > 0; depth--) {
        nested = { ...shell, children: [nested] }
      }
      children[at] = nested
    }
  }
}
