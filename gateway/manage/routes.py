"""Every route of the management half of the gateway."""

from typing import Final

from aiohttp import web

from gateway.formats import manage as formats
from gateway.formats import updating
from gateway.manage import (
    alerts,
    amendments,
    balances,
    closing,
    commitments,
    contract_drafts,
    contract_history,
    contracts,
    customers,
    document_filter,
    document_requests,
    documents,
    entities,
    meters,
    previews,
    pricings,
    products,
    reconciling,
    settings,
    simulate,
    webhooks,
)
from gateway.reports import dead_letters, events, proof, summary, trial_balance, usage_of_lines
from gateway.uploads import routes as uploads

ROUTES: Final[list[web.RouteDef]] = [
    *settings.ROUTES,
    *entities.ROUTES,
    *customers.ROUTES,
    *meters.ROUTES,
    *formats.ROUTES,
    *updating.ROUTES,
    *products.ROUTES,
    *pricings.ROUTES,
    *simulate.ROUTES,
    *amendments.ROUTES,
    *commitments.ROUTES,
    *balances.ROUTES,
    *alerts.ROUTES,
    *contracts.ROUTES,
    *contract_drafts.ROUTES,
    *contract_history.ROUTES,
    *closing.ROUTES,
    *documents.ROUTES,
    *document_filter.ROUTES,
    *reconciling.ROUTES,
    *document_requests.ROUTES,
    *previews.ROUTES,
    *webhooks.ROUTES,
    *events.ROUTES,
    *summary.ROUTES,
    *usage_of_lines.ROUTES,
    *proof.ROUTES,
    *trial_balance.ROUTES,
    *dead_letters.ROUTES,
    *uploads.ROUTES,
]
