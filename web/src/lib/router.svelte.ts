/** The current route, and moving between routes without loading the page anew. */
import { routeOf, type Route } from './routes';

const here = (): Route => routeOf(location.pathname, location.search);

export const router = $state<{ route: Route }>({ route: here() });

export function go(href: string, how: 'push' | 'replace' = 'push'): void {
  if (how === 'push') history.pushState(null, '', href);
  else history.replaceState(null, '', href);
  const before = router.route.page;
  router.route = here();
  if (how === 'push' || before !== router.route.page) scrollTo(0, 0);
}

function followed(event: MouseEvent): string | null {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) {
    return null;
  }
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  const elsewhere = !link || link.target || link.hasAttribute('download') || link.origin !== location.origin;
  if (elsewhere || link.getAttribute('href')?.startsWith('#')) return null;
  return link.pathname + link.search + link.hash;
}

/** Let links of this app be followed in place. Answers how to stop. */
export function startRouter(): () => void {
  const onClick = (event: MouseEvent) => {
    const href = followed(event);
    if (href === null) return;
    event.preventDefault();
    go(href);
  };
  const onPop = () => (router.route = here());
  document.addEventListener('click', onClick);
  addEventListener('popstate', onPop);
  return () => {
    document.removeEventListener('click', onClick);
    removeEventListener('popstate', onPop);
  };
}
