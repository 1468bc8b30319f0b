"""What do systems call their tables and columns, in English, German, French, Spanish, Italian and Chinese?

Words are written folded, as by :func:`fold`: small letters, umlauts as two letters, no accents, a blank between words;
Chinese stays as it is.
"""

from __future__ import annotations

import re
import unicodedata

from clientbook.tables import CANONICAL

# Chinese, where nothing parts the words.
HAN = "\u3400-\u9fff"
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})


def fold(name: str) -> str:
    """A header in small words: `KundenNr`, `kunden_nr` and `Kunden-Nr.` are `kunden nr`.

    Parameters
    ----------
    name
        As delivered.
    """
    parted = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-ZÀ-Þ][a-zà-ÿ])|(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", name.translate(_UMLAUTS))
    bare = "".join(c for c in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(c))
    return " ".join(re.sub(rf"[^0-9a-z{HAN}]+", " ", bare.lower()).split())


def compact(words: str) -> str:
    """The same without blanks."""
    return words.replace(" ", "")


# By `table.column`, else by column for every table.
_COLUMNS = {
    "people.full_name": "name, full name, customer name, contact name, kundenname, vollname, nom complet, nombre completo, nominativo, anrufer, caller name, display name",
    "people.given_name": "first name, given name, forename, firstname, fname, vorname, rufname, prenom, nombre, nome",
    "people.family_name": "last name, family name, surname, lastname, lname, nachname, familienname, zuname, nom, nom de famille, apellido, apellidos, cognome",
    "email": "email, mail, e mail, email address, mail address, emailadresse, mailadresse, cust mail, courriel, adresse mail, correo, correo electronico, indirizzo email, posta elettronica",
    "phone": "phone, telephone, phone number, tel, mobile, mobile number, cell, cellphone, telefon, telefonnummer, rufnummer, handy, mobil, mobilnummer, telefono, movil, cellulare, portable",
    "birth_date": "birth date, date of birth, dob, birthday, birthdate, geburtsdatum, geburtstag, geb dat, geb datum, gebdat, date de naissance, fecha de nacimiento, data di nascita, naissance",
    "street": "street, street line, street address, address line 1, address1, strasse, str, anschrift, adresse, rue, calle, direccion, via, indirizzo, address",
    "city": "city, town, place, ort, stadt, wohnort, ville, ciudad, citta, localidad, comune",
    "postcode": "postcode, post code, postal code, zip, zip code, plz, postleitzahl, code postal, codigo postal, cap",
    "region": "region, state, province, county, canton, bundesland, kanton, provinz, departement, provincia, regione",
    "country": "country, country code, nation, land, laendercode, pays, pais, paese",
    "people.company": "company, company name, organisation, organization, employer, org, firma, firmenname, unternehmen, arbeitgeber, societe, entreprise, empresa, azienda",
    "people.job_title": "job title, job, position, title, function, funktion, stelle, beruf, poste, cargo, puesto, qualifica",
    "account_id": "account, account id, account no, account number, company id, konto, konto nr, kontonummer, firmen nr, firmennummer, compte, cuenta",
    "industry": "industry, sector, branche, wirtschaftszweig, secteur, industria, settore",
    "people.persona": "persona, customer persona, buyer persona, kundentyp",
    "people.external_id": "loyalty card, card number, card no, karten nr, kartennummer, kundenkarte, loyalty id, tax id, vat id, ust id, steuernummer, carte fidelite, tarjeta",
    "people.social_reach": "followers, follower, social reach, reach, contacts count, reichweite, abonnes, seguidores",
    "people.created_at": "created, created at, created on, creation date, signup date, registered, registered at, subscribed, subscribed at, joined, angelegt, angelegt am, erstellt, erstellt am, erfasst, erfasst am, anlagedatum, registriert, ausgestellt, ausgestellt am, issued, date de creation, fecha de alta, creato",
    "people.updated_at": "updated, updated at, modified, modified at, last change, last modified, last update, changed, geaendert, geaendert am, aenderungsdatum, letzte aenderung, modifie le, modificado, modificato",
    "accounts.name": "name, account name, company name, kontoname, firmenname, firma, company, raison sociale, razon social, ragione sociale",
    "accounts.domain": "domain, website, web site, webseite, homepage, url, web, site web, sitio web",
    "accounts.parent_account_id": "parent, parent id, parent account, parent account id, konzern, konzern nr, muttergesellschaft, hauptkonto",
    "order_id": "order id, order no, order number, order, invoice, invoice no, invoice number, receipt, receipt no, transaction id, bestellung, bestellnummer, bestell nr, auftrag, auftragsnummer, auftrags nr, rechnung, rechnungsnummer, beleg, beleg nr, belegnummer, bon nr, bonnummer, bon, commande, numero commande, pedido, numero pedido, ordine, facture",
    "orders.ordered_at": "order date, ordered at, ordered, order time, placed, placed at, invoice date, purchase date, purchased at, transaction date, sale date, date, bestelldatum, bestellt am, kaufdatum, auftragsdatum, rechnungsdatum, belegdatum, datum, zeit, zeitpunkt, date commande, fecha pedido, fecha, data ordine, data",
    "product_id": "product id, product no, product code, product, sku, article, article no, article number, item, item id, item no, stock code, artikel, artikelnummer, artikel nr, art nr, artnr, material, materialnummer, ean, gtin, reference, referencia, codice articolo, producto",
    "quantity": "quantity, qty, pieces, units, count, menge, anzahl, stueck, stueckzahl, quantite, cantidad, quantita",
    "orders.unit_price": "unit price, price, price each, item price, preis, einzelpreis, stueckpreis, vk preis, prix, prix unitaire, precio, precio unitario, prezzo, prezzo unitario",
    "orders.amount": "amount, total, line total, total price, revenue, net amount, betrag, summe, gesamt, gesamtbetrag, gesamtpreis, wert, umsatz, montant, importe, importo, totale",
    "orders.discount": "discount, rebate, discount amount, rabatt, nachlass, skonto, remise, descuento, sconto",
    "orders.currency": "currency, currency code, curr, waehrung, devise, moneda, valuta",
    "orders.campaign": "campaign, coupon, coupon code, promo code, utm campaign, coupon campaign, kampagne, aktion, gutschein, campagne, campana",
    "orders.status": "status, state, order status, auftragsstatus, bestellstatus, etat, statut, estado, stato",
    "channel": "channel, medium, kanal, weg, vertriebskanal, canal, canale",
    "deliveries.promised_at": "promised, promised at, promised date, due, due date, expected, expected delivery, eta, zugesagt, zugesagt am, liefertermin, wunschtermin, soll lieferdatum, date promise",
    "deliveries.delivered_at": "delivered, delivered at, delivery date, arrived, received, geliefert, geliefert am, lieferdatum, zugestellt, ist lieferdatum, livre, entregado, consegnato",
    "returns.returned_at": "returned, returned at, return date, received, refund date, refunded at, credit date, retourniert, retourdatum, rueckgabedatum, gutschriftsdatum, datum, date, date retour",
    "returns.amount": "amount, refund, refund amount, credit, gutschrift, erstattung, betrag, gutschriftbetrag, remboursement, reembolso, rimborso",
    "products.name": "name, product name, title, description, bezeichnung, artikelbezeichnung, artikelname, produktname, beschreibung, designation, nom, libelle, nombre, nome",
    "products.topic": "category, product line, product group, line, group, warengruppe, produktgruppe, kategorie, sortiment, gamme, categorie, categoria, topic",
    "products.unit_cost": "unit cost, cost, cost price, purchase price, einkaufspreis, ek preis, ek, herstellkosten, selbstkosten, cout, coste, costo",
    "products.stock_quantity": "stock, stock quantity, in stock, on hand, inventory, bestand, lagerbestand, lagermenge, stock actuel, existencias, giacenza",
    "topic": "topic, subject, area, theme, thema, themengebiet, bereich, sujet, tema, argomento",
    "events.event_name": "event, event name, event type, action, activity, activity type, what, ereignis, aktion, aktivitaet, vorgang, evenement, evento, azione, accion, gruppe",
    "events.occurred_at": "timestamp, ts, time, date, datetime, event time, occurred, occurred at, started, started at, when, zeit, zeitpunkt, zeitstempel, datum, horodatage, fecha, data ora, zugeteilt",
    "events.event_id": "event id, event no, ereignis id",
    "events.device": "device, device type, geraet, appareil, dispositivo",
    "events.direction": "direction, richtung, sens, direccion, direzione",
    "content_id": "content, content id, asset, asset id, page id, article id, piece, inhalt, inhalt id, contenu, contenido",
    "events.session_id": "session, session id, visit, visit id, sitzung, besuch",
    "events.text": "search term, query, search, keywords, suchbegriff, suchwort, suche, requete, busqueda, ricerca",
    "events.results": "results, hits, result count, treffer, trefferzahl, resultats, resultados",
    "content.content_id": "content id, asset id, id, nr, no, number, nummer, numero",
    "content.title": "title, headline, titel, ueberschrift, name, titre, titulo, titolo",
    "content.stage": "stage, phase, funnel stage, journey stage, etape, fase",
    "content.format": "format, type, content type, art, formato",
    "content.role": "role, audience, target role, rolle, zielgruppe, role cible, rol, ruolo",
    "content.url": "url, link, address, web address, adresse, lien, enlace",
    "content.text": "text, teaser, abstract, summary, body, anriss, inhalt, zusammenfassung, resume, resumen",
    "messages.message_id": "message id, mail id, mailing id, sending id, nachricht id",
    "messages.sent_at": "sent, sent at, send date, send time, sent on, gesendet, gesendet am, versendet, versandt am, versanddatum, envoye, enviado, inviato",
    "messages.message_type": "type, kind, message type, mail type, art, typ, nachrichtenart",
    "messages.sender": "sender, team, from, sender team, absender, expediteur, remitente, mittente",
    "messages.purpose": "purpose, zweck, verwendungszweck, but, finalidad, scopo",
    "messages.is_operational": "is operational, operational, transactional, is transactional, transaktional",
    "messages.opened_at": "opened, opened at, open ts, open time, first open, geoeffnet, geoeffnet am, ouvert",
    "messages.clicked_at": "clicked, clicked at, click ts, click time, first click, geklickt, geklickt am, clique",
    "messages.replied_at": "replied, replied at, reply ts, reply time, answered, geantwortet, beantwortet am, repondu",
    "messages.unsubscribed_at": "unsubscribed, unsubscribed at, unsub ts, opt out at, abgemeldet, abgemeldet am, desabonne",
    "cost": "cost, costs, expense, cost eur, kosten, aufwand, cout, coste, costo",
    "opportunity_id": "opportunity, opportunity id, opportunity no, deal, deal id, chance, chancen nr, verkaufschance, opportunite, oportunidad, opportunita",
    "opportunities.opened_at": "opened, opened at, open date, created, created at, start date, eroeffnet, eroeffnet am, angelegt am, ouvert le",
    "opportunities.stage_name": "stage, stage name, phase, deal stage, status, vertriebsphase, etape, etapa, fase",
    "opportunities.closed_at": "closed, closed at, close date, closed on, abgeschlossen, abgeschlossen am, abschlussdatum, geschlossen, cloture",
    "opportunities.is_won": "won, is won, gewonnen, gagne, ganado, vinto",
    "opportunities.amount": "amount, value, volume, deal value, betrag, volumen, auftragswert, wert, montant, importe, importo",
    "opportunity_people.role": "role, buying role, contact role, rolle, funktion, rol, ruolo",
    "cases.case_id": "case, case id, case no, ticket, ticket id, ticket no, ticket number, incident, vorgang, vorgangsnummer, fall, anliegen nr, dossier",
    "cases.opened_at": "opened, opened at, created, created at, open date, eroeffnet, eroeffnet am, erstellt am, ouvert le",
    "cases.closed_at": "closed, closed at, resolved, resolved at, solved, geschlossen, geschlossen am, geloest, erledigt am, cloture",
    "cases.reason": "reason, category, issue type, subject, grund, anlass, anliegen, kategorie, betreff, motif, motivo",
    "cases.text": "text, note, notes, description, comment, notiz, bemerkung, beschreibung, kommentar, remarque, nota",
    "surveys.asked_at": "asked, asked at, survey date, sent, sent at, date, gefragt, gefragt am, befragt am, datum, date enquete",
    "surveys.metric": "metric, measure, survey, survey type, question, kennzahl, messgroesse, frage, indicateur, metrica",
    "surveys.score": "score, rating, answer, result, value, wert, bewertung, punkte, note, puntuacion, punteggio",
    "surveys.text": "comment, text, feedback, kommentar, anmerkung, commentaire, comentario, commento",
    "referrals.referred_person_id": "referred, referred id, referred person, referred customer, friend, friend id, friend no, invited, geworben, geworbener, geworbener kunde, empfohlen, parraine",
    "referrals.referred_at": "referred at, referral date, since, invited at, date, geworben am, empfohlen am, seit, datum, depuis",
    "consents.purpose": "purpose, zweck, verwendungszweck, finalite, finalidad, scopo",
    "consents.status": "status, state, consent, consent status, stand, zustand, einwilligung, statut, estado, stato",
    "consents.indicated_at": "indicated, indicated at, consent date, given at, date, datum, einwilligungsdatum, am, vom, erteilt am, fecha, data",
    "consents.valid_to": "valid to, valid until, expires, expires at, expiry, gueltig bis, ablaufdatum, laeuft ab am, valable jusqu au, valido hasta",
    "preferences.stated_at": "stated, stated at, saved, saved at, set at, date, gespeichert, gespeichert am, geaendert am, datum",
    "preferences.weekday": "weekday, day, day of week, wochentag, tag, jour, dia, giorno",
    "preferences.hour": "hour, time, preferred hour, stunde, uhrzeit, heure, hora, ora",
    "preferences.max_per_period": "max per period, max messages, max mails, max emails, maximum, hoechstens, maximal",
    "preferences.period_days": "period days, per days, period, days, zeitraum, tage",
    "aliases.other_source": "other source, known in, system, source, linked system, quelle, fremdsystem",
    "aliases.other_person_id": "other id, known as, linked id, matched id, other person id, fremd id, fremdschluessel, user id, customer id",
    "aliases.linked_at": "linked, linked at, login, login at, ts, timestamp, time, date, verknuepft am, zeit",
}  # fmt: skip

# What exports of shops, audiences, tickets and ledgers say beside that, and Chinese ones.
_MORE = {
    "people.full_name": "姓名, 名字, 客户名称, 会员姓名, 顾客姓名, 收货人",
    "people.given_name": "名",
    "people.family_name": "姓",
    "email": "邮箱, 电子邮箱, 邮件, 邮箱地址, 电子邮件",
    "phone": "手机, 手机号, 手机号码, 电话, 联系电话, 电话号码",
    "birth_date": "生日, 出生日期, 出生年月",
    "street": "地址, 详细地址, 收货地址",
    "city": "城市, 所在城市",
    "postcode": "邮编, 邮政编码",
    "region": "省, 省份, 地区, province code",
    "country": "国家, lkz, landkz, cc",
    "people.company": "公司, 公司名称, 单位, name1",
    "people.persona": "会员等级, 等级",
    "people.external_id": "会员卡号, 卡号, ust id nr, ust idnr, vat no",
    "people.created_at": "注册时间, 注册日期, 创建时间, optin time, opt in time",
    "people.updated_at": "更新时间, 修改时间, last changed",
    "account_id": "firma id, firmen id, organization id, 公司编号",
    "accounts.name": "公司, 公司名称",
    "order_id": "订单号, 订单编号, 单号",
    "orders.ordered_at": "created at, created, 下单时间, 订单时间, 订单日期, 购买时间, 付款时间",
    "product_id": "商品编号, 商品编码, 货号, variant sku",
    "quantity": "数量, 件数",
    "orders.unit_price": "e preis, 单价, 价格",
    "orders.amount": "netto, nettobetrag, 金额, 实付金额, 支付金额, 订单金额",
    "orders.discount": "优惠, 优惠金额, 折扣金额",
    "orders.currency": "币种",
    "orders.campaign": "discount code, 优惠券",
    "orders.status": "financial status, 订单状态, 状态",
    "channel": "渠道, 来源",
    "products.name": "商品名称, 品名",
    "products.topic": "类别, 分类, 品类",
    "products.unit_cost": "cost per item, 成本, 成本价",
    "products.stock_quantity": "inventory qty, inventory quantity, variant inventory qty, 库存",
    "topic": "warengruppe, produktgruppe, product line, product group, 品类",
    "events.event_name": "事件, 行为",
    "events.occurred_at": "时间, 发生时间",
    "events.text": "keyword, 关键词, 搜索词",
    "messages.sent_at": "发送时间",
    "opportunities.opened_at": "angelegt",
    "cases.closed_at": "solved at, closed on",
    "cases.opened_at": "创建时间",
    "consents.indicated_at": "日期, 时间",
}

# How systems call a deal that is won, and one that is lost.
WON = frozenset("won closedwon gewonnen abgeschlossengewonnen gagne ganado vinto 赢单 成交".split())
LOST = frozenset("lost closedlost verloren abgeschlossenverloren perdu perdido perso 输单".split())

# Words for a person, and words for an id: `customer no`, `KundenNr`, or `subscriber` alone.
PERSONS = frozenset(
    """
    customer cust client clients kunde kunden kontakt kontakte contact person user member mitglied subscriber abonnent abonnenten
    caller anrufer visitor cookie besucher buyer kaeufer kunde lead patient guest gast teilnehmer employee cliente clienti
    usuario utente abonne karten card karte
    """.split()
)
PERSONS |= frozenset("kd debitor requester recipient ansprechpartner empfaenger 会员 客户 顾客 用户 买家".split())
IDS = frozenset("编号 号 号码 代码 id no nr number num nummer nummern key code ident kennung schluessel numero uuid guid".split())
TIMES = frozenset("时间 日期 created date datum time zeit zeitpunkt ts timestamp when at am on fecha data horodatage day tag since seit".split())

# What a file of such a table is called.
FILES = {
    "people": "会员 客户 顾客 用户 people person persons customer customers kunde kunden kontakt kontakte contact contacts subscriber subscribers abonnenten member members mitglieder user users anrufer callers client clients clientes clienti karte karten cards leads adressen",
    "aliases": "alias aliases login logins identities identity links mapping xref",
    "accounts": "account accounts konto konten firma firmen company companies organisation organisations organizations unternehmen entreprises empresas aziende",
    "orders": "订单 销售 交易 order orders bestellung bestellungen auftrag auftraege bon bons beleg belege receipt receipts invoice invoices rechnung rechnungen transaction transactions sale sales verkaeufe umsatz umsaetze purchases kaeufe commandes ventes pedidos ventas ordini vendite retail positionen lines",
    "deliveries": "delivery deliveries lieferung lieferungen shipment shipments versand livraisons envios consegne",
    "returns": "return returns retoure retouren gutschrift gutschriften refund refunds credits ruecksendungen retours devoluciones resi",
    "products": "商品 产品 product products artikel produkt produkte item items sku skus material sortiment katalog catalogue catalog produits productos prodotti articles",
    "events": "事件 行为 aktivitaeten event events ereignisse aktivitaet aktivitaeten activity activities clicks clickstream web log logs visits anrufe calls sessions tracking testgruppen groups evenements eventos eventi",
    "content": "content contents inhalt inhalte assets articles beitraege seiten pages contenus contenidos",
    "messages": "message messages nachrichten sending sendings mailing mailings mails emails versand newsletter campaigns sends envois mensajes messaggi",
    "opportunities": "opportunity opportunities deal deals chance chancen verkaufschancen pipeline opportunites oportunidades",
    "opportunity_people": "roles contact_roles buying chancen_kontakte opportunity_contacts deal_contacts",
    "cases": "case cases ticket tickets faelle anliegen complaints reklamationen service incidents",
    "surveys": "survey surveys umfrage umfragen feedback nps csat ratings befragungen enquetes encuestas",
    "referrals": "referral referrals empfehlung empfehlungen invites werbungen freunde parrainages",
    "consents": "consent consents einwilligung einwilligungen optin optins permissions consentements",
    "preferences": "preference preferences praeferenzen vorlieben einstellungen wuensche preferencias",
}  # fmt: skip

# What a few columns may hold alone, in other words.
VALUES = {
    "consents.status": {
        "given": "given yes granted accepted opt in optin erteilt ja zugestimmt accorde oui concedido si accettato",
        "refused": "refused no denied declined rejected abgelehnt nein verweigert refuse non rechazado rifiutato",
        "withdrawn": "withdrawn revoked opt out optout unsubscribed widerrufen entzogen zurueckgezogen retire revocado revocato",
        "expired": "expired lapsed abgelaufen verfallen expire caducado scaduto",
        "unknown": "unknown unbekannt offen inconnu desconocido sconosciuto",
    },
    "content.stage": {
        "need": "need awareness bedarf besoin necesidad bisogno",
        "research": "research consideration recherche information investigacion ricerca",
        "decide": "decide decision purchase entscheidung kauf decision decisione",
        "adopt": "adopt onboarding adoption einstieg einfuehrung demarrage",
        "use": "use usage retention nutzung gebrauch verwendung utilisation uso",
        "recommend": "recommend advocacy referral empfehlung weiterempfehlung recommandation recomendacion",
    },
}


def synonyms(table: str, column: str) -> frozenset[str]:
    """How a canonical column is called, in compact words, itself among them.

    Parameters
    ----------
    table, column
        Canonical names.
    """
    told = _COLUMNS.get(f"{table}.{column}", _COLUMNS.get(column, ""))
    told = f"{told},{_MORE.get(f'{table}.{column}', _MORE.get(column, ''))}"
    return frozenset(compact(fold(word)) for word in (*told.split(","), column) if word.strip())


SYNONYMS = {(table.name, column): synonyms(table.name, column) for table in CANONICAL.values() for column in table.names}
