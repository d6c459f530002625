-- Documents: from the cuts to the issued files. $1 is a tenant, or NULL for all of them.

-- name: cuts_counted
SELECT count(*) FROM period_cut WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: cuts_without_input
-- Cuts that no document has taken up, and why.
SELECT format('cut %s of period %s has no document', cut.cut_number, cut.period_ref)
       || coalesce(': ' || parked.error, CASE WHEN waits.value IS NOT NULL
                   THEN ': its message is still to be published' END, '') AS witness,
       cut_at < now() - interval '15 minutes' AS is_late
FROM period_cut cut
LEFT JOIN document_input input
    ON (input.shard_key, input.period_ref, input.cut_number, input.trigger)
     = (cut.shard_key, cut.period_ref, cut.cut_number, CASE WHEN cut.cut_number > 0
        THEN 'PERIOD_CUT' WHEN until_at IS NULL THEN 'PERIOD_OPENED' ELSE 'ISSUE_DUE' END)
LEFT JOIN parked_input parked
    ON (parked.shard_key, parked.period_ref, parked.cut_number, parked.trigger)
     = (cut.shard_key, cut.period_ref, cut.cut_number, CASE WHEN cut.cut_number > 0
        THEN 'PERIOD_CUT' WHEN until_at IS NULL THEN 'PERIOD_OPENED' ELSE 'ISSUE_DUE' END)
LEFT JOIN LATERAL (
    SELECT value FROM rater_outbox own
    WHERE own.shard_key = cut.shard_key AND topic = 'billing.periods.v1'
      AND position(cut.period_ref::text IN convert_from(value, 'UTF8')) > 0
    LIMIT 1
) AS waits ON true
WHERE ($1::integer IS NULL OR cut.tenant_id = $1) AND input.document_ref IS NULL;

-- name: lines_counted
SELECT count(*) FROM document_line WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: lines_misplaced
-- Each line of a cut that a document has taken up is on that document once, as it was cut, each of
-- its cells too. What is due once is billed in the first period alone. A document is of the last
-- cut that came before it was issued; what came later is on its adjustments.
WITH due AS (
    SELECT own.shard_key, own.period_ref, contract_line_ref, own.cut_number, cell,
           input.document_ref, amount,
           CASE WHEN own.event_count > 0 THEN own.charge_ref END AS charge_ref, own.quantity,
           own.exact_quantity, own.event_count, own.pricing_line_id, own.events_digest,
           price.meter_id IS NULL AS has_own_quantity
    FROM document_input input
    JOIN charge_cut own
        ON (own.shard_key, own.period_ref, own.cut_number)
         = (input.shard_key, input.period_ref, input.cut_number)
    JOIN billing_period period
        ON (period.shard_key, period.period_ref) = (own.shard_key, own.period_ref)
    JOIN pricing_line price ON price.pricing_line_id = own.pricing_line_id
    LEFT JOIN document_product drawn
        ON (drawn.shard_key, drawn.document_ref, drawn.period_ref)
         = (input.shard_key, input.document_ref, input.period_ref)
        AND drawn.root_document_ref IS NULL
    JOIN document
        ON (document.shard_key, document.document_ref) = (input.shard_key, input.document_ref)
    WHERE input.trigger = 'PERIOD_CUT' AND ($1::integer IS NULL OR input.tenant_id = $1)
      AND NOT EXISTS (
    -- What others have billed ahead is looked at with these, in `families`.
    SELECT FROM document_adjustment ahead
    JOIN document child USING (shard_key, document_ref)
    WHERE (ahead.shard_key, ahead.root_document_ref)
        = (document.shard_key, document.document_ref)
      AND CASE WHEN ahead.is_ahead THEN EXISTS (
            SELECT FROM document_product part
            WHERE (part.shard_key, part.document_ref, part.root_document_ref, part.period_ref)
                = (ahead.shard_key, ahead.document_ref, ahead.root_document_ref, own.period_ref))
          ELSE child.event_ref IS NOT NULL
              AND child.number_in_contract < coalesce(document.number_in_contract, 2147483647)
          END)
      AND own.cut_number = coalesce(drawn.cut_number, own.cut_number)
      AND (period.period_index = 0 OR price.price ->> 'recurring' IS DISTINCT FROM 'false')
),
billed AS (
    SELECT line.shard_key, period_ref, contract_line_ref, cut_number, cell, line.document_ref, fees,
           line.charge_ref, line.quantity, line.exact_quantity, line.event_count,
           line.pricing_line_id, line.events_digest,
           count(*) OVER (PARTITION BY line.shard_key, period_ref, contract_line_ref, cut_number,
                                       cell) AS copies
    FROM document_line line
    JOIN document_product product
        ON (product.shard_key, product.document_ref, product.position)
         = (line.shard_key, line.document_ref, line.product_position)
    JOIN document
        ON (document.shard_key, document.document_ref) = (line.shard_key, line.document_ref)
    WHERE ($1::integer IS NULL OR line.tenant_id = $1) AND cell <> 'fee'
      AND document.kind = 'PERIOD' AND product.root_document_ref IS NULL
      AND NOT EXISTS (
    -- What others have billed ahead is looked at with these, in `families`.
    SELECT FROM document_adjustment ahead
    JOIN document child USING (shard_key, document_ref)
    WHERE (ahead.shard_key, ahead.root_document_ref)
        = (document.shard_key, document.document_ref)
      AND CASE WHEN ahead.is_ahead THEN EXISTS (
            SELECT FROM document_product part
            WHERE (part.shard_key, part.document_ref, part.root_document_ref, part.period_ref)
                = (ahead.shard_key, ahead.document_ref, ahead.root_document_ref, product.period_ref))
          ELSE child.event_ref IS NOT NULL
              AND child.number_in_contract < coalesce(document.number_in_contract, 2147483647)
          END)
)
SELECT format('line %s of period %s at cut %s: %s', contract_line_ref, period_ref, cut_number,
              CASE WHEN billed.document_ref IS NULL THEN 'on no document'
                   WHEN due.document_ref IS NULL THEN 'billed without such a cut'
                   WHEN copies > 1 THEN 'billed ' || copies || ' times'
                   WHEN due.document_ref <> billed.document_ref THEN 'on another document'
                   ELSE 'not as it was cut' END) AS witness
FROM due FULL JOIN billed USING (shard_key, period_ref, contract_line_ref, cut_number, cell)
WHERE due.document_ref IS DISTINCT FROM billed.document_ref OR copies > 1
   OR due.charge_ref IS DISTINCT FROM billed.charge_ref
   OR due.event_count <> billed.event_count
   OR due.pricing_line_id <> billed.pricing_line_id
   OR due.events_digest IS DISTINCT FROM billed.events_digest
   OR due.exact_quantity IS DISTINCT FROM billed.exact_quantity
   OR due.amount <> billed.fees
   OR (due.quantity <> billed.quantity AND NOT has_own_quantity);

-- name: lines
-- Every billed line with its price and the days of its period, the cells of one together.
SELECT line.document_ref, line.product_position, line.contract_line_ref, line.item, line.quantity,
       line.exact_quantity, line.event_count, line.amount, line.cell, line.fees,
       document.currency, price.price, start_date, end_date, full_start_date, full_end_date
FROM document_line line
JOIN document
    ON (document.shard_key, document.document_ref) = (line.shard_key, line.document_ref)
JOIN document_product product
    ON (product.shard_key, product.document_ref, product.position)
     = (line.shard_key, line.document_ref, line.product_position)
JOIN billing_period period
    ON (period.shard_key, period.period_ref) = (product.shard_key, product.period_ref)
JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
WHERE ($1::integer IS NULL OR line.tenant_id = $1) AND document.kind = 'PERIOD'
  AND product.root_document_ref IS NULL AND NOT EXISTS (
    -- What others have billed ahead is looked at with these, in `families`.
    SELECT FROM document_adjustment ahead
    JOIN document child USING (shard_key, document_ref)
    WHERE (ahead.shard_key, ahead.root_document_ref)
        = (document.shard_key, document.document_ref)
      AND CASE WHEN ahead.is_ahead THEN EXISTS (
            SELECT FROM document_product part
            WHERE (part.shard_key, part.document_ref, part.root_document_ref, part.period_ref)
                = (ahead.shard_key, ahead.document_ref, ahead.root_document_ref, product.period_ref))
          ELSE child.event_ref IS NOT NULL
              AND child.number_in_contract < coalesce(document.number_in_contract, 2147483647)
          END)
ORDER BY line.shard_key, line.document_ref, line.product_position, line.position;

-- name: sums_misplaced
-- A document and what was issued as differences to it, line by line: together they bill what the
-- last cut that was taken up holds; while more waits for the next document, what the last one that
-- was billed holds.
WITH held AS (
    -- What is issued for issued documents, but for events that their last cut does not hold.
    SELECT document.shard_key, document.document_ref, head.document_ref AS root,
           bool_or(document.event_ref IS NOT NULL) AS is_of_event
    FROM document
    LEFT JOIN document_adjustment part USING (shard_key, document_ref)
    JOIN document head ON head.shard_key = document.shard_key
        AND head.document_ref IN (part.root_document_ref, document.document_ref)
    LEFT JOIN event_due due
        ON (due.shard_key, due.contract_ref, due.due_id)
         = (document.shard_key, document.contract_ref, document.event_due_id)
    LEFT JOIN (
        SELECT shard_key, document_ref, max(cut_offset) AS cut_offset
        FROM document_input JOIN period_cut USING (shard_key, period_ref, cut_number)
        WHERE trigger = 'PERIOD_CUT' GROUP BY 1, 2
    ) AS last ON (last.shard_key, last.document_ref) = (head.shard_key, head.document_ref)
    WHERE (document.number IS NOT NULL OR part.is_ahead) AND head.number IS NOT NULL
      AND head.kind = 'PERIOD'
      AND (due.due_id IS NULL OR due.rated_below <= last.cut_offset)
      AND ($1::integer IS NULL OR document.tenant_id = $1)
    GROUP BY 1, 2, 3
),
family AS (
    SELECT product.shard_key, product.document_ref, position, period_ref, cut_number, held.root,
           is_of_event
    FROM document_product product
    JOIN held ON (held.shard_key, held.document_ref, held.root)
        = (product.shard_key, product.document_ref,
           coalesce(root_document_ref, product.document_ref))
),
last AS (
    SELECT family.shard_key, root, period_ref,
           CASE WHEN bool_or(waits.document_ref IS NOT NULL) THEN max(family.cut_number)
                ELSE max(taken.cut_number) END AS cut_number
    FROM family
    JOIN LATERAL (
        SELECT max(cut_number) AS cut_number FROM document_input own
        WHERE (own.shard_key, own.document_ref, own.period_ref, trigger)
            = (family.shard_key, family.root, family.period_ref, 'PERIOD_CUT')
    ) AS taken ON true
    LEFT JOIN waiting_adjustment waits
        ON (waits.shard_key, waits.document_ref) = (family.shard_key, family.root)
    GROUP BY 1, 2, 3
    HAVING (count(*) > 1 OR max(taken.cut_number) > max(family.cut_number))
       -- Events are billed as they come, and what they leave is seen when it waits no more.
       AND NOT (bool_or(waits.document_ref IS NOT NULL) AND bool_or(is_of_event))
),
cut AS (
    SELECT shard_key, root, period_ref, contract_line_ref, cell, own.quantity, event_count
    FROM last
    JOIN charge_cut own USING (shard_key, period_ref, cut_number)
    JOIN pricing_line price ON price.pricing_line_id = own.pricing_line_id
    WHERE price.price ->> 'model' <> 'FLAT'
),
billed AS (
    SELECT family.shard_key, root, period_ref, contract_line_ref, cell,
           sum(line.quantity) AS quantity, sum(event_count) AS event_count
    FROM family
    JOIN last USING (shard_key, root, period_ref)
    JOIN document_line line
        ON (line.shard_key, line.document_ref, line.product_position)
         = (family.shard_key, family.document_ref, family.position)
    JOIN pricing_line price ON price.pricing_line_id = line.pricing_line_id
    WHERE price.price ->> 'model' <> 'FLAT' AND cell <> 'fee'
    GROUP BY 1, 2, 3, 4, 5
)
SELECT format('line %s of period %s is billed with %s of %s events by document %s and its '
              'adjustments, its last cut holds %s of %s', contract_line_ref, period_ref,
              trim_scale(coalesce(billed.quantity, 0)), coalesce(billed.event_count, 0), root,
              trim_scale(coalesce(cut.quantity, 0)), coalesce(cut.event_count, 0)) AS witness
FROM cut FULL JOIN billed USING (shard_key, root, period_ref, contract_line_ref, cell)
WHERE coalesce(cut.event_count, 0) <> coalesce(billed.event_count, 0)
   -- Quantities without end are rounded to 18 digits, each time.
   OR abs(coalesce(cut.quantity, 0) - coalesce(billed.quantity, 0)) > 0.00000000000000001;

-- name: family_lines
-- What each line of an adjusted document would be billed at the last cut that was billed, and what
-- it was billed.
WITH held AS (
    -- What is issued for issued documents, but for events that their last cut does not hold.
    SELECT document.shard_key, document.document_ref, head.document_ref AS root,
           bool_or(document.event_ref IS NOT NULL) AS is_of_event
    FROM document
    LEFT JOIN document_adjustment part USING (shard_key, document_ref)
    JOIN document head ON head.shard_key = document.shard_key
        AND head.document_ref IN (part.root_document_ref, document.document_ref)
    LEFT JOIN event_due due
        ON (due.shard_key, due.contract_ref, due.due_id)
         = (document.shard_key, document.contract_ref, document.event_due_id)
    LEFT JOIN (
        SELECT shard_key, document_ref, max(cut_offset) AS cut_offset
        FROM document_input JOIN period_cut USING (shard_key, period_ref, cut_number)
        WHERE trigger = 'PERIOD_CUT' GROUP BY 1, 2
    ) AS last ON (last.shard_key, last.document_ref) = (head.shard_key, head.document_ref)
    WHERE (document.number IS NOT NULL OR part.is_ahead) AND head.number IS NOT NULL
      AND head.kind = 'PERIOD'
      AND (due.due_id IS NULL OR due.rated_below <= last.cut_offset)
      AND ($1::integer IS NULL OR document.tenant_id = $1)
    GROUP BY 1, 2, 3
),
family AS (
    SELECT product.shard_key, product.document_ref, position, period_ref, cut_number, held.root,
           is_of_event
    FROM document_product product
    JOIN held ON (held.shard_key, held.document_ref, held.root)
        = (product.shard_key, product.document_ref,
           coalesce(root_document_ref, product.document_ref))
),
adjusted AS (
    SELECT family.shard_key, root, period_ref,
           CASE WHEN bool_or(waits.document_ref IS NOT NULL) THEN max(family.cut_number)
                ELSE max(taken.cut_number) END AS cut_number
    FROM family
    JOIN LATERAL (
        SELECT max(cut_number) AS cut_number FROM document_input own
        WHERE (own.shard_key, own.document_ref, own.period_ref, trigger)
            = (family.shard_key, family.root, family.period_ref, 'PERIOD_CUT')
    ) AS taken ON true
    LEFT JOIN waiting_adjustment waits
        ON (waits.shard_key, waits.document_ref) = (family.shard_key, family.root)
    GROUP BY 1, 2, 3
    HAVING (count(*) > 1 OR max(taken.cut_number) > max(family.cut_number))
       -- Events are billed as they come, and what they leave is seen when it waits no more.
       AND NOT (bool_or(waits.document_ref IS NOT NULL) AND bool_or(is_of_event))
)
SELECT adjusted.root AS document_ref, 0 AS product_position, cut.contract_line_ref,
       line.item, CASE price.price ->> 'model' WHEN 'FLAT' THEN sums.quantity ELSE cut.quantity END
       AS quantity, cut.exact_quantity, cut.event_count, sums.amount, cut.cell,
       CASE WHEN line.fees IS NOT NULL THEN cut.amount END AS fees,
       line.currency, price.price, start_date, end_date, full_start_date, full_end_date
FROM adjusted
JOIN charge_cut cut USING (shard_key, period_ref, cut_number)
JOIN pricing_line price ON price.pricing_line_id = cut.pricing_line_id
JOIN billing_period period USING (shard_key, period_ref)
JOIN LATERAL (
    SELECT item, own.fees, root.currency
    FROM family member
    JOIN document root
        ON (root.shard_key, root.document_ref) = (member.shard_key, member.root)
    JOIN document_line own
        ON (own.shard_key, own.document_ref, own.product_position)
         = (member.shard_key, member.document_ref, member.position)
    WHERE (member.shard_key, member.root, member.period_ref)
        = (adjusted.shard_key, adjusted.root, adjusted.period_ref)
      AND (own.contract_line_ref, own.cell) = (cut.contract_line_ref, cut.cell)
    ORDER BY member.document_ref <> member.root LIMIT 1
) AS line ON true
JOIN LATERAL (
    SELECT sum(own.amount) AS amount, sum(own.quantity) AS quantity
    FROM family member
    JOIN document_line own
        ON (own.shard_key, own.document_ref, own.product_position)
         = (member.shard_key, member.document_ref, member.position)
    WHERE (member.shard_key, member.root, member.period_ref)
        = (adjusted.shard_key, adjusted.root, adjusted.period_ref)
      AND (own.contract_line_ref, own.cell) = (cut.contract_line_ref, cut.cell)
) AS sums ON true
WHERE price.price ->> 'model' <> 'MATRIX';

-- name: products
-- Every document, once a product of its own, with the sum of the product's lines and the terms it is
-- under. What it corrects of other documents is taken off its sums.
SELECT document.document_ref, document_number, document.currency,
       accounting_event_type, document.total AS whole_total, along.total IS NOT NULL AS has_along,
       document.sub_total - coalesce(along.sub_total, 0) AS document_sub_total,
       document.total_discount - coalesce(along.total_discount, 0) AS total_discount,
       document.total_tax - coalesce(along.total_tax, 0) AS total_tax,
       document.credits_amount - coalesce(along.credits_amount, 0) AS credits_amount,
       document.total - coalesce(along.total, 0) AS document_total,
       product.position, product_name, product.minimum_fee, product.sub_total, product.total,
       product.discount, product.discount_rate, product.tax_rate, lines.amount AS lines_amount,
       product.true_ups, terms.discount AS discount_percent, terms.tax, terms.commitments,
       end_date >= least(terms.billing_end_date + 1, terms.until_date)
       AND NOT EXISTS (
           SELECT FROM contract_product later
           WHERE (later.shard_key, later.contract_ref, later.lineage_ref)
               = (terms.shard_key, terms.contract_ref, terms.lineage_ref)
             AND later.since_date >= end_date AND NOT later.is_pending
             AND coalesce(later.since_date < later.until_date, true)
       ) AS is_last,
       CASE WHEN terms.commitments = '[]' THEN 0 ELSE (
           SELECT coalesce(sum(other.total), 0)
           FROM document_product other JOIN document holder USING (shard_key, document_ref)
           WHERE other.shard_key = product.shard_key
             AND other.contract_product_ref IN (
                 SELECT contract_product_ref FROM contract_product kin
                 WHERE (kin.shard_key, kin.contract_ref, kin.lineage_ref)
                     = (terms.shard_key, terms.contract_ref, terms.lineage_ref))
             AND other.period_ref <> product.period_ref
             AND (other.root_document_ref IS NULL
                  OR holder.issued_at < coalesce(document.issued_at, 'infinity')
                  OR (holder.kind = 'PERIOD' AND holder.issued_at = document.issued_at)
                  OR holder.document_ref = document.document_ref)
       ) END AS spent_before,
       coalesce(terms.minimum_fee, pricing.minimum_fee) AS minimum_fee_due,
       start_date, end_date, full_start_date, full_end_date
FROM document
LEFT JOIN document_product product
    ON (product.shard_key, product.document_ref) = (document.shard_key, document.document_ref)
    AND product.root_document_ref IS NULL
LEFT JOIN LATERAL (
    SELECT sum(sub_total) AS sub_total, sum(total_discount) AS total_discount,
           sum(total_tax) AS total_tax, sum(credits_amount) AS credits_amount,
           sum(sub_total - total_discount + total_tax - credits_amount) AS total
    FROM document_adjustment own
    WHERE (own.shard_key, own.document_ref) = (document.shard_key, document.document_ref)
) AS along ON true
LEFT JOIN contract_product terms
    ON (terms.shard_key, terms.contract_product_ref)
     = (product.shard_key, product.contract_product_ref)
LEFT JOIN pricing ON pricing.pricing_id = terms.pricing_id
LEFT JOIN billing_period period
    ON (period.shard_key, period.period_ref) = (product.shard_key, product.period_ref)
LEFT JOIN (
    SELECT shard_key, document_ref, product_position AS position, sum(amount) AS amount
    FROM document_line
    GROUP BY 1, 2, 3
) AS lines
    ON (lines.shard_key, lines.document_ref, lines.position)
     = (product.shard_key, product.document_ref, product.position)
WHERE ($1::integer IS NULL OR document.tenant_id = $1) AND document.kind = 'PERIOD'
  AND NOT EXISTS (
    -- What others have billed ahead is looked at with these, in `families`.
    SELECT FROM document_adjustment ahead
    JOIN document child USING (shard_key, document_ref)
    WHERE (ahead.shard_key, ahead.root_document_ref)
        = (document.shard_key, document.document_ref)
      AND (ahead.is_ahead OR child.event_ref IS NOT NULL
           AND child.number_in_contract < coalesce(document.number_in_contract, 2147483647)))
ORDER BY document.shard_key, document.document_ref, product.position;

-- name: families
-- Every adjusted document with its adjustments as if they were one, in the columns of `products`.
-- One that waits for more, and looks back at other periods, is looked at when it has it.
WITH held AS (
    -- What is issued for issued documents, but for events that their last cut does not hold.
    SELECT document.shard_key, document.document_ref, head.document_ref AS root,
           bool_or(document.event_ref IS NOT NULL) AS is_of_event
    FROM document
    LEFT JOIN document_adjustment part USING (shard_key, document_ref)
    JOIN document head ON head.shard_key = document.shard_key
        AND head.document_ref IN (part.root_document_ref, document.document_ref)
    LEFT JOIN event_due due
        ON (due.shard_key, due.contract_ref, due.due_id)
         = (document.shard_key, document.contract_ref, document.event_due_id)
    LEFT JOIN (
        SELECT shard_key, document_ref, max(cut_offset) AS cut_offset
        FROM document_input JOIN period_cut USING (shard_key, period_ref, cut_number)
        WHERE trigger = 'PERIOD_CUT' GROUP BY 1, 2
    ) AS last ON (last.shard_key, last.document_ref) = (head.shard_key, head.document_ref)
    WHERE (document.number IS NOT NULL OR part.is_ahead) AND head.number IS NOT NULL
      AND head.kind = 'PERIOD'
      AND (due.due_id IS NULL OR due.rated_below <= last.cut_offset)
      AND ($1::integer IS NULL OR document.tenant_id = $1)
    GROUP BY 1, 2, 3
),
head AS (
    SELECT shard_key, root, sum(own.sub_total) AS sub_total,
           sum(own.total_discount) AS total_discount, sum(own.total_tax) AS total_tax,
           sum(own.credits_amount) AS credits_amount
    FROM document_adjustment own
    JOIN held USING (shard_key, document_ref)
    WHERE root_document_ref = root
    GROUP BY 1, 2
),
member AS (
    SELECT product.*, held.root, lines.amount
    FROM document_product product
    JOIN held ON (held.shard_key, held.document_ref, held.root)
        = (product.shard_key, product.document_ref,
           coalesce(root_document_ref, product.document_ref))
    JOIN head ON (head.shard_key, head.root) = (held.shard_key, held.root)
    LEFT JOIN LATERAL (
        SELECT sum(amount) AS amount FROM document_line own
        WHERE (own.shard_key, own.document_ref, own.product_position)
            = (product.shard_key, product.document_ref, product.position)
    ) AS lines ON true
),
product AS (
    SELECT shard_key, root, contract_product_ref, period_ref, min(product_name) AS name,
           sum(minimum_fee) AS minimum_fee, sum(sub_total) AS sub_total, sum(total) AS total,
           sum(discount) AS discount, min(discount_rate) AS discount_rate,
           min(tax_rate) AS tax_rate, sum(amount) AS lines_amount
    FROM member GROUP BY 1, 2, 3, 4
)
SELECT head.root AS document_ref, document.document_number || ' with its adjustments' AS document_number,
       document.currency, CASE WHEN whole.total < 0 THEN 'CREDIT' ELSE 'INVOICE' END
       AS accounting_event_type, whole.total AS whole_total, true AS has_along,
       whole.sub_total AS document_sub_total, whole.total_discount, whole.total_tax,
       whole.credits_amount, whole.total AS document_total,
       0 AS position, product.name AS product_name, product.minimum_fee, product.sub_total, product.total,
       product.discount, product.discount_rate, product.tax_rate, product.lines_amount,
       product.discount_rate AS discount_percent, product.tax_rate AS tax,
       true_ups.stated AS true_ups, terms.commitments,
       end_date >= least(terms.billing_end_date + 1, terms.until_date)
       AND NOT EXISTS (
           SELECT FROM contract_product later
           WHERE (later.shard_key, later.contract_ref, later.lineage_ref)
               = (terms.shard_key, terms.contract_ref, terms.lineage_ref)
             AND later.since_date >= end_date AND NOT later.is_pending
             AND coalesce(later.since_date < later.until_date, true)
       ) AS is_last,
       CASE WHEN terms.commitments = '[]' THEN 0 ELSE (
           SELECT coalesce(sum(other.total), 0)
           FROM document_product other JOIN document holder USING (shard_key, document_ref)
           WHERE other.shard_key = product.shard_key
             AND other.contract_product_ref IN (
                 SELECT contract_product_ref FROM contract_product kin
                 WHERE (kin.shard_key, kin.contract_ref, kin.lineage_ref)
                     = (terms.shard_key, terms.contract_ref, terms.lineage_ref))
             AND other.period_ref <> product.period_ref
             AND (other.root_document_ref IS NULL OR holder.number IS NOT NULL)
       ) END AS spent_before,
       coalesce(terms.minimum_fee, pricing.minimum_fee) AS minimum_fee_due,
       start_date, end_date, full_start_date, full_end_date
FROM head
JOIN document ON (document.shard_key, document.document_ref) = (head.shard_key, head.root)
JOIN product ON (product.shard_key, product.root) = (head.shard_key, head.root)
JOIN LATERAL (
    SELECT coalesce(jsonb_agg(sums ORDER BY sums."over" DESC), '[]') AS stated
    FROM (
        SELECT one."over", sum(one.amount) AS amount, sum(one.spent) AS spent,
               sum(one.true_up) AS true_up
        FROM member own
        CROSS JOIN jsonb_to_recordset(own.true_ups)
            AS one ("over" text, amount numeric, spent numeric, true_up numeric)
        WHERE (own.shard_key, own.root, own.contract_product_ref, own.period_ref)
            = (product.shard_key, product.root, product.contract_product_ref, product.period_ref)
        GROUP BY 1
    ) AS sums
) AS true_ups ON true
JOIN LATERAL (
    SELECT own.*, own.sub_total - own.total_discount + own.total_tax - own.credits_amount AS total
    FROM (
        SELECT document.sub_total - coalesce(sum(along.sub_total), 0) + head.sub_total AS sub_total,
               document.total_discount - coalesce(sum(along.total_discount), 0)
               + head.total_discount AS total_discount,
               document.total_tax - coalesce(sum(along.total_tax), 0) + head.total_tax
               AS total_tax,
               document.credits_amount - coalesce(sum(along.credits_amount), 0)
               + head.credits_amount AS credits_amount
        FROM document_adjustment along
        WHERE (along.shard_key, along.document_ref) = (head.shard_key, head.root)
    ) AS own
) AS whole ON true
JOIN contract_product terms
    ON (terms.shard_key, terms.contract_product_ref)
     = (product.shard_key, product.contract_product_ref)
JOIN pricing ON pricing.pricing_id = terms.pricing_id
JOIN billing_period period
    ON (period.shard_key, period.period_ref) = (product.shard_key, product.period_ref)
WHERE NOT EXISTS (
    SELECT FROM waiting_adjustment waits
    JOIN member other ON (other.shard_key, other.root) = (waits.shard_key, waits.document_ref)
    JOIN contract_product looks_back
        ON (looks_back.shard_key, looks_back.contract_product_ref)
         = (other.shard_key, other.contract_product_ref)
    WHERE (waits.shard_key, waits.document_ref) = (head.shard_key, head.root)
      AND looks_back.commitments <> '[]')
ORDER BY head.shard_key, head.root, start_date, product.contract_product_ref;

-- name: adjustments_broken
-- A difference adds up, is to an issued document of its own contract and group, and is all of a
-- credit or a debit, as its sign says, or a part of a later document; or of an earlier one, ahead.
SELECT format('document %s, as the difference to %s: %s', coalesce(document_number, document_ref::text),
              root_document_ref, CASE
           WHEN root.number IS NULL AND holder.event_ref IS NULL AND NOT is_ahead
               THEN 'that is no issued document'
           WHEN (root.contract_ref, root.document_group)
                <> (holder.contract_ref, holder.document_group)
               THEN 'that is of another contract or group'
           WHEN kind = 'ADJUSTMENT' AND accounting_event_type
                <> CASE WHEN total < 0 THEN 'CREDIT' ELSE 'DEBIT' END
               THEN format('a total of %s is no %s', total, accounting_event_type)
           WHEN kind = 'ADJUSTMENT' THEN 'it is not all of the adjustment'
           ELSE 'its products do not add up to it' END) AS witness
FROM (
    SELECT shard_key, document_ref, root_document_ref, part.sub_total, part.total_discount,
           part.total_tax, part.credits_amount, coalesce(part.is_ahead, false) AS is_ahead,
           sums.sub_total AS products_total, sums.discount
    FROM document_adjustment part
    FULL JOIN (
        SELECT shard_key, document_ref, root_document_ref, sum(total) AS sub_total,
               sum(discount) AS discount
        FROM document_product WHERE root_document_ref IS NOT NULL GROUP BY 1, 2, 3
    ) AS sums USING (shard_key, document_ref, root_document_ref)
) AS own
JOIN (
    SELECT shard_key, document_ref, tenant_id, document_number, kind, contract_ref, document_group,
           event_ref, parent_document_ref, accounting_event_type, total,
           sub_total AS all_sub_total,
           total_discount AS all_discount, total_tax AS all_tax, credits_amount AS all_credits
    FROM document
) AS holder USING (shard_key, document_ref)
LEFT JOIN LATERAL (
    SELECT number, contract_ref, document_group FROM document
    WHERE (shard_key, document_ref) = (own.shard_key, own.root_document_ref)
) AS root ON true
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND ((root.number IS NULL AND holder.event_ref IS NULL AND NOT is_ahead)
       OR (root.contract_ref, root.document_group) <> (holder.contract_ref, holder.document_group)
       OR own.sub_total IS DISTINCT FROM coalesce(products_total, 0)
       OR total_discount <> coalesce(discount, 0)
       OR (kind = 'ADJUSTMENT'
           AND (accounting_event_type <> CASE WHEN total < 0 THEN 'CREDIT' ELSE 'DEBIT' END
                OR (holder.event_ref IS NULL AND parent_document_ref <> root_document_ref)
                OR (holder.event_ref IS NULL AND (sub_total, total_discount, total_tax, credits_amount)
                <> (all_sub_total, all_discount, all_tax, all_credits)))))
UNION ALL
SELECT format('adjustment %s corrects nothing', document_number)
FROM document
LEFT JOIN document_adjustment part USING (shard_key, document_ref)
WHERE kind = 'ADJUSTMENT' AND part.root_document_ref IS NULL
  AND ($1::integer IS NULL OR document.tenant_id = $1);

-- name: waiting_broken
-- What waits for the next document of a contract is of an issued one, and is on no issued one yet.
SELECT format('what has changed of document %s waits %s', waits.document_ref, CASE
           WHEN own.number IS NULL THEN 'and is a draft itself'
           ELSE 'and is on document ' || carrier.document_number END) AS witness
FROM waiting_adjustment waits
JOIN document own USING (shard_key, document_ref)
LEFT JOIN document carrier
    ON (carrier.shard_key, carrier.document_ref) = (waits.shard_key, waits.carrier_ref)
WHERE ($1::integer IS NULL OR waits.tenant_id = $1)
  AND (own.number IS NULL OR carrier.number IS NOT NULL);

-- name: waiting_counted
SELECT count(*) FROM waiting_adjustment WHERE $1::integer IS NULL OR tenant_id = $1;

-- name: contracts_broken
-- The documents of a contract are counted 1, 2, … in the order of issue, and each states what
-- they come to up to itself, in its own currency, less what had been voided before.
SELECT format('document %s is number %s of its contract after %s, and states %s where the '
              'contract''s documents come to %s', document_number, number_in_contract, previous,
              total_in_contract, running) AS witness
FROM (
    SELECT document_number, number_in_contract, total_in_contract, issued_at,
           lag(number_in_contract, 1, 0) OVER own AS previous,
           lag(issued_at) OVER own AS previous_issued_at,
           sum(total) OVER (PARTITION BY shard_key, contract_ref, currency
                            ORDER BY number_in_contract) - coalesce((
               SELECT sum(gone.total) FROM document_void gone
               WHERE (gone.shard_key, gone.contract_ref, gone.currency)
                   = (document.shard_key, document.contract_ref, document.currency)
                 AND gone.after_number < document.number_in_contract), 0) AS running
    FROM document
    WHERE number IS NOT NULL AND ($1::integer IS NULL OR tenant_id = $1)
    WINDOW own AS (PARTITION BY shard_key, contract_ref ORDER BY number_in_contract)
) AS ordered
WHERE number_in_contract IS DISTINCT FROM previous + 1 OR issued_at < previous_issued_at
   OR total_in_contract IS DISTINCT FROM running;

-- name: voids_broken
-- A void is noted once, with the document's own figures, behind it; and nothing that corrects it
-- counts.
SELECT format('document %s is %s, and noted as voided: %s', coalesce(document_number,
           document.document_ref::text), state, gone.document_ref IS NOT NULL) AS witness
FROM document FULL JOIN document_void gone USING (shard_key, document_ref)
WHERE ($1::integer IS NULL OR coalesce(document.tenant_id, gone.tenant_id) = $1)
  AND (coalesce(state = 'VOID', false) <> (gone.document_ref IS NOT NULL)
       OR (state = 'VOID' AND ((gone.total, gone.currency, gone.contract_ref, gone.tenant_id)
               IS DISTINCT FROM (document.total, document.currency, document.contract_ref,
                                 document.tenant_id)
           OR gone.after_number < number_in_contract OR gone.voided_at < issued_at
           OR credits_amount <> 0)))
UNION ALL
SELECT format('document %s is VOID, and %s, which corrects it, is not', gone.document_number,
              own.document_number)
FROM document gone
JOIN document own ON (own.shard_key, own.parent_document_ref)
    = (gone.shard_key, gone.document_ref)
WHERE gone.state = 'VOID' AND own.kind = 'CREDIT' AND own.state <> 'VOID'
  AND ($1::integer IS NULL OR gone.tenant_id = $1);

-- name: credits_broken
-- What people took off a document is below zero, adds up, and is never more than it asks for.
SELECT format('credit %s takes %s off document %s, which asks for %s', own.document_number,
              own.total, coalesce(of.document_number, 'none'), of.total) AS witness
FROM document own
LEFT JOIN document of ON (of.shard_key, of.document_ref, of.tenant_id, of.contract_ref, of.currency)
    = (own.shard_key, own.parent_document_ref, own.tenant_id, own.contract_ref, own.currency)
    AND of.number IS NOT NULL AND of.kind <> 'CREDIT'
LEFT JOIN LATERAL (
    SELECT sum(least(taken.total, 0)) AS total,
           sum(taken.total_tax) FILTER (WHERE taken.kind = 'CREDIT') AS total_tax
    FROM document taken
    WHERE (taken.shard_key, taken.parent_document_ref) = (own.shard_key, own.parent_document_ref)
      AND taken.kind IN ('ADJUSTMENT', 'CREDIT') AND taken.state <> 'VOID'
      AND taken.number_in_contract <= own.number_in_contract
) AS all_of ON true
WHERE own.kind = 'CREDIT' AND ($1::integer IS NULL OR own.tenant_id = $1)
  AND (of.total IS NULL OR own.number IS NULL OR own.total >= 0 OR own.total_tax > 0
       OR own.sub_total > 0 OR own.total_discount <> 0 OR own.credits_amount <> 0
       OR own.accounting_event_type <> 'CREDIT' OR own.series NOT LIKE 'CR-%'
       OR (own.state <> 'VOID' AND (of.total + all_of.total < 0
                                    OR of.total_tax + all_of.total_tax < 0)));

-- name: line_credits_broken
-- What people took off a line is never more than it was billed with, and adds up to the credit.
SELECT format('credits take %s off line %s of document %s, which is %s', taken.amount, line.item,
              taken.parent_document_ref, line.amount) AS witness
FROM (
    SELECT own.tenant_id, own.shard_key, own.parent_document_ref, own.product_position,
           own.line_position, sum(own.amount) AS amount
    FROM document_line_credit own
    JOIN document credit USING (shard_key, document_ref)
    WHERE credit.state <> 'VOID' AND ($1::integer IS NULL OR own.tenant_id = $1)
    GROUP BY 1, 2, 3, 4, 5
) taken
LEFT JOIN document_line line
    ON (line.shard_key, line.document_ref, line.product_position, line.position, line.tenant_id)
    = (taken.shard_key, taken.parent_document_ref, taken.product_position, taken.line_position,
       taken.tenant_id)
WHERE line.amount IS NULL OR taken.amount > line.amount
UNION ALL
SELECT format('credit %s is %s where its lines come to %s', credit.document_number, credit.total,
              own.total)
FROM (
    SELECT shard_key, document_ref, parent_document_ref, sum(total) AS total
    FROM document_line_credit WHERE $1::integer IS NULL OR tenant_id = $1 GROUP BY 1, 2, 3
) own
JOIN document credit USING (shard_key, document_ref)
WHERE credit.total <> -own.total OR credit.kind <> 'CREDIT'
   OR credit.parent_document_ref <> own.parent_document_ref;

-- name: issued_counted
SELECT count(*) FROM document
WHERE number IS NOT NULL AND ($1::integer IS NULL OR tenant_id = $1);

-- name: numbers_broken
-- Sorted by number, each document of a series has the number after the one before it, and was
-- not issued before it.
SELECT format('%s: number %s of entity %s, series %L, follows %s, issued %s after %s',
              document_number, number, entity_id, series, previous, issued_at,
              coalesce(previous_issued_at::text, 'none')) AS witness
FROM (
    SELECT *, lag(number, 1, 0::bigint) OVER own AS previous,
           lag(issued_at) OVER own AS previous_issued_at
    FROM document
    WHERE number IS NOT NULL AND ($1::integer IS NULL OR tenant_id = $1)
    WINDOW own AS (PARTITION BY tenant_id, entity_id, series ORDER BY number, issued_at)
) AS ordered
WHERE number <> previous + 1 OR issued_at < previous_issued_at OR issued_at IS NULL;

-- name: sequences_broken
SELECT format('entity %s, series %L: the next number is %s after %s documents',
              entity_id, series, coalesce(next_number, 1), coalesce(documents, 0)) AS witness
FROM document_sequence
FULL JOIN (
    SELECT tenant_id, entity_id, series, count(*) AS documents
    FROM document WHERE number IS NOT NULL GROUP BY 1, 2, 3
) AS issued USING (tenant_id, entity_id, series)
WHERE ($1::integer IS NULL OR tenant_id = $1)
  AND coalesce(next_number, 1) <> coalesce(documents, 0) + 1;

-- name: names_repeated
SELECT format('%s documents of entity %s are called %s', count(*), entity_id, document_number)
       AS witness
FROM document
WHERE number IS NOT NULL AND ($1::integer IS NULL OR tenant_id = $1)
GROUP BY tenant_id, entity_id, document_number
HAVING count(*) > 1;

-- name: files_altered
SELECT format('the %s of document %s is not what its digest says', kind, document_ref) AS witness
FROM document_file
WHERE ($1::integer IS NULL OR tenant_id = $1) AND sha256(content) <> sha256;

-- name: files_missing
SELECT format('document %s has no %s%s', document_number, file_kind,
              CASE WHEN waits.shard_key IS NULL THEN ', and nothing is under way'
                   ELSE coalesce(': ' || waits.last_error, '') END) AS witness,
       waits.shard_key IS NULL OR issued_at < now() - interval '15 minutes' AS is_late
FROM document
CROSS JOIN (VALUES ('HTML'), ('PDF')) AS wanted (file_kind)
LEFT JOIN document_file file
    ON (file.shard_key, file.document_ref, file.kind)
     = (document.shard_key, document.document_ref, file_kind)
LEFT JOIN LATERAL (
    SELECT shard_key, last_error FROM invoicer_outbox own
    WHERE own.shard_key = document.shard_key AND own.document_ref = document.document_ref
      AND own.kind = 'RENDER'
    LIMIT 1
) AS waits ON true
WHERE number IS NOT NULL AND file.sha256 IS NULL
  AND ($1::integer IS NULL OR document.tenant_id = $1);
